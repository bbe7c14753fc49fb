"""The rules of Kubernetes for labels and annotations.

The API server does not check labels and annotations in a Binding. It stores invalid ones, and then
every later update of the pod fails. So Spillover checks them when it loads a policy.
Source: k8s.io/apimachinery/pkg/util/validation and pkg/api/validation.
"""

import re
from collections.abc import Iterator, Mapping

from spillover.api.errors import FieldError

_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_DNS_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_MAX_NAME = 63
_MAX_PREFIX = 253
MAX_ANNOTATIONS_BYTES = 256 * 1024
"""Maximum size of all annotations of an object, keys and values together."""

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_COST = re.compile(r"0|-?[1-9][0-9]{0,8}")  # at most 9 digits always fit into 32 bits
_OURS = "spillover.dev/"
_CHECKED_OTHERWISE = (
    "kubernetes.io/config.mirror",
    "scheduler.alpha.kubernetes.io/tolerations",
    "seccomp.security.alpha.kubernetes.io/",
    "container.apparmor.security.beta.kubernetes.io/",
    "container.seccomp.security.alpha.kubernetes.io/",
)
"""Annotations whose values the API server also checks (ValidatePodSpecificAnnotations). No unit
needs them, so Spillover refuses them and does not repeat these checks."""


def key_problem(key: str) -> str | None:
    """What is wrong with a label or annotation key, or None."""
    prefix, slash, name = key.rpartition("/")
    if slash and not (len(prefix) <= _MAX_PREFIX and _DNS_SUBDOMAIN.fullmatch(prefix)):
        return (
            f"{key[:80]!r} has a prefix that is not a DNS subdomain"
            f" of at most {_MAX_PREFIX} characters"
        )
    if not (len(name) <= _MAX_NAME and _NAME.fullmatch(name)):
        return (
            f"{key[:80]!r} is not a qualified name: at most {_MAX_NAME} letters, digits, '-', '_'"
            " or '.', starting and ending with a letter or digit, after an optional DNS prefix/"
        )
    return None


def value_problem(value: str) -> str | None:
    """What is wrong with a label value, or None."""
    if value and not (len(value) <= _MAX_NAME and _NAME.fullmatch(value)):
        return (
            f"{value[:80]!r} is not a label value: at most {_MAX_NAME} letters, digits, '-', '_'"
            " or '.', starting and ending with a letter or digit"
        )
    return None


def label_errors(path: str, labels: Mapping[str, str]) -> Iterator[FieldError]:
    """Every key and value that the API server would refuse as a label."""
    for key, value in labels.items():
        if problem := key_problem(key):
            yield FieldError(path, problem)
        if problem := value_problem(value):
            yield FieldError(f"{path}[{key}]", problem)
        if key.startswith(_OURS):
            yield FieldError(f"{path}[{key}]", "is Spillover's own")


def annotation_errors(path: str, annotations: Mapping[str, str]) -> Iterator[FieldError]:
    """Everything in the annotations that the API server would refuse on a pod."""
    for key, value in annotations.items():
        # Annotation keys are checked in lower case (ValidateAnnotations), label keys are not.
        if problem := key_problem(key.lower()):
            yield FieldError(path, problem)
        if key.startswith(_OURS):
            yield FieldError(f"{path}[{key}]", "is Spillover's own")
        if key.startswith(_CHECKED_OTHERWISE):
            yield FieldError(f"{path}[{key}]", "cannot be set on a pod that exists")
        if key == DELETION_COST and not _COST.fullmatch(value):
            yield FieldError(f"{path}[{key}]", f"{value[:40]!r} is not a 9-digit integer")
    size = annotations_size(annotations)
    if size > MAX_ANNOTATIONS_BYTES:
        yield FieldError(path, f"{size} bytes are more than the limit of {MAX_ANNOTATIONS_BYTES}")


def annotations_size(annotations: Mapping[str, str]) -> int:
    """Size of all keys and values in bytes."""
    return sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items())
