"""What the watches show of the cluster: autoscalers, HPAs and ReplicaSets."""

from collections.abc import Callable, Collection, Sequence, Set
from dataclasses import dataclass
from random import Random
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from spillover.api import ahpa
from spillover.api.errors import FieldError
from spillover.api.kubernetes import ObjectMeta
from spillover.core.autoscaling.autoscaler import (
    Autoscaler,
    AutoscalerKey,
    InvalidAutoscaler,
    LoadedAutoscaler,
    Strategy,
    Target,
    load,
)
from spillover.kube.reading import Unreadable
from spillover.kube.reflector import Reflector
from spillover.kube.session import ApiSession

MINIMUM_ANNOTATION = "spillover.dev/ahpa-min"
"""On an HPA: the minReplicas that its user has set."""
SET_ANNOTATION = "spillover.dev/ahpa-set-min"
"""On an HPA: the minReplicas that Spillover has set last."""
HOLDER_ANNOTATION = "spillover.dev/ahpa"
"""On an HPA: the name of the AdvancedHorizontalPodAutoscaler that moves its minReplicas."""

_LONGEST_BASE = 58
"""Of a pod's name, before its random end. Source: k8s.io/apiserver, names.SimpleNameGenerator."""

_MOST_REPLICA_SETS = 50
"""A Deployment keeps 10 of them by default. Each is a part of every query."""

_LARGEST_STATUS = 16 * 1024
"""In bytes. A larger one is not ours, and is written anew."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Stored:
    """An AdvancedHorizontalPodAutoscaler as the watch shows it."""

    loaded: LoadedAutoscaler
    created: str
    status: dict[str, Any]
    """As it is stored."""


class _Reference(msgspec.Struct, frozen=True, rename="camel"):
    kind: str = ""
    name: str = ""
    api_version: str = ""


class _HpaSpec(msgspec.Struct, frozen=True, rename="camel"):
    scale_target_ref: _Reference = _Reference()
    min_replicas: int | None = None
    max_replicas: int = 0


class Hpa(msgspec.Struct, frozen=True):
    """A HorizontalPodAutoscaler. Source: k8s.io/api/autoscaling/v2."""

    metadata: ObjectMeta
    spec: _HpaSpec = _HpaSpec()

    @property
    def key(self) -> tuple[str, str]:
        return self.metadata.namespace, self.metadata.name

    @property
    def least(self) -> int:
        return 1 if self.spec.min_replicas is None else self.spec.min_replicas

    @property
    def holder(self) -> str:
        """The name of the object that moves its minimum, or ""."""
        return (self.metadata.annotations or {}).get(HOLDER_ANNOTATION, "")

    def aims_at(self, target: Target) -> bool:
        reference = self.spec.scale_target_ref
        group = reference.api_version.rpartition("/")[0]
        return (reference.kind, reference.name) == (target.kind, target.name) and (
            group == target.group
        )


class ReplicaSet(NamedTuple):
    """What is kept of a ReplicaSet."""

    namespace: str
    name: str
    created: str
    owners: tuple[str, ...]
    """Uids."""


Key = tuple[str, str]
"""Namespace and name."""


class Known(Generic[T]):
    """Objects of one collection, as the sink of their reflector. An object that does not decode
    counts as absent, unless `replaced` makes another one of it."""

    def __init__(
        self, key: Callable[[T], Key], replaced: Callable[[Unreadable], T | None] = lambda _: None
    ) -> None:
        self._objects: dict[str, dict[str, T]] = {}
        self.key = key
        self._replaced = replaced

    def get(self, namespace: str, name: str) -> T | None:
        return self._objects.get(namespace, {}).get(name)

    def of_namespace(self, namespace: str) -> Collection[T]:
        return self._objects.get(namespace, {}).values()

    def all(self) -> list[T]:
        return [each for found in self._objects.values() for each in found.values()]

    def put(self, item: T) -> None:
        namespace, name = self.key(item)
        self._objects.setdefault(namespace, {})[name] = item

    def drop(self, item: T) -> None:
        self._forget(*self.key(item))

    def keep(self, listed: Set[Key], version: int) -> None:  # noqa: ARG002 - a Sink's
        for key in {self.key(each) for each in self.all()} - listed:
            self._forget(*key)

    def unreadable(self, found: Unreadable) -> T | None:
        replaced = self._replaced(found)
        if replaced is None:
            self._forget(found.identity.namespace, found.identity.name)
        return replaced

    def _forget(self, namespace: str, name: str) -> None:
        there = self._objects.get(namespace, {})
        there.pop(name, None)
        if not there:
            self._objects.pop(namespace, None)


def pods_of(kind: str, name: str, replica_sets: Sequence[str]) -> str:
    """A regular expression for the names of the pods that a workload has, or had lately. "" if it
    never had any."""
    if kind == "StatefulSet":
        return f"{_escaped(name)}-[0-9]+"
    # The name of a Deployment alone would take in the pods of another one that begins alike. Other
    # kinds have ReplicaSets, as a Rollout, or pods of their own.
    owners = replica_sets or ([] if kind == "Deployment" else [name])
    return "|".join(f"{_escaped(f'{each}-'[:_LONGEST_BASE])}[a-z0-9]{{5}}" for each in owners)


def _escaped(name: str) -> str:
    """Names have letters, digits, hyphens and dots."""
    return name.replace(".", "\\.")


class View:
    """All that the service knows of the cluster."""

    def __init__(self) -> None:
        self.autoscalers: Known[Stored] = Known(
            lambda item: (item.loaded.key.namespace, item.loaded.key.name), _unreadable
        )
        self.hpas: Known[Hpa] = Known(lambda item: item.key)
        self.replica_sets: Known[ReplicaSet] = Known(lambda item: (item.namespace, item.name))

    def stored(self, key: AutoscalerKey) -> Stored | None:
        return self.autoscalers.get(key.namespace, key.name)

    def replica_sets_of(self, namespace: str, uid: str) -> list[str]:
        """The names of a workload's newest ReplicaSets, also of those that have no pods any
        more."""
        owned = [each for each in self.replica_sets.of_namespace(namespace) if uid in each.owners]
        owned.sort(key=lambda each: each.created)
        return sorted(each.name for each in owned[-_MOST_REPLICA_SETS:])

    def other_hpa(self, namespace: str, target: Target) -> Hpa | None:
        """An HPA that aims at the target."""
        hpas = self.hpas.of_namespace(namespace)
        return next((hpa for hpa in hpas if hpa.aims_at(target)), None)

    def older_autoscaler(self, stored: Stored, target: Target) -> str:
        """The name of an older AdvancedHorizontalPodAutoscaler that scales the target, or "". One
        that only observes scales nothing."""
        rivals = [
            each
            for each in self.autoscalers.of_namespace(stored.loaded.key.namespace)
            if isinstance(each.loaded, Autoscaler)
            and each.loaded.strategy is not Strategy.OBSERVER
            and (each.loaded.target.kind, each.loaded.target.name) == (target.kind, target.name)
        ]
        oldest = min(rivals, key=age, default=stored)
        return "" if oldest.loaded.key == stored.loaded.key else oldest.loaded.key.name


def age(stored: Stored) -> tuple[str, str]:
    """Sorts objects, the oldest first."""
    return stored.created, stored.loaded.key.name


def watches(
    session: ApiSession, view: View, random: Random, clock: Callable[[], float]
) -> tuple[Reflector[Any], ...]:
    """The reflectors that keep the view up to date."""
    return (
        Reflector(
            session,
            f"/apis/{ahpa.GROUP}/{ahpa.VERSION}/{ahpa.PLURAL}",
            _stored,
            view.autoscalers,
            random,
            clock,
            may_be_absent=True,
        ),
        Reflector(
            session,
            "/apis/autoscaling/v2/horizontalpodautoscalers",
            _hpa,
            view.hpas,
            random,
            clock,
        ),
        Reflector(
            session, "/apis/apps/v1/replicasets", _replica_set, view.replica_sets, random, clock
        ),
    )


_HPAS = msgspec.json.Decoder(Hpa)
_ANNOTATIONS = (HOLDER_ANNOTATION, MINIMUM_ANNOTATION, SET_ANNOTATION)


class _Owned(msgspec.Struct, frozen=True):
    metadata: ObjectMeta


_OWNED = msgspec.json.Decoder(_Owned)


def _replica_set(raw: bytes | msgspec.Raw) -> ReplicaSet:
    metadata = _OWNED.decode(raw).metadata
    owners = tuple(owner.uid for owner in (metadata.owner_references or ())[:_MOST_OWNERS])
    return ReplicaSet(metadata.namespace, metadata.name, metadata.creation_timestamp or "", owners)


_MOST_OWNERS = 4


def _hpa(raw: bytes | msgspec.Raw) -> Hpa:
    """Only with the annotations that are ours: a tenant may write large ones."""
    found = _HPAS.decode(raw)
    metadata = found.metadata
    ours = {key: (metadata.annotations or {}).get(key, "") for key in _ANNOTATIONS}
    kept = ObjectMeta(
        name=metadata.name,
        namespace=metadata.namespace,
        uid=metadata.uid,
        resource_version=metadata.resource_version,
        annotations={key: value for key, value in ours.items() if 0 < len(value) <= _LONGEST_NAME},
    )
    return Hpa(kept, found.spec)


_LONGEST_NAME = 253


def _stored(raw: bytes | msgspec.Raw) -> Stored:
    found = msgspec.json.decode(raw, type=dict[str, Any])
    metadata, status = found["metadata"], found.get("status")
    ours: dict[str, Any] = {}
    if isinstance(status, dict) and len(msgspec.json.encode(status)) <= _LARGEST_STATUS:
        ours = status
    return Stored(load(found), metadata.get("creationTimestamp") or "", ours)


def _unreadable(found: Unreadable) -> Stored:
    """An object that cannot be read is one with an error: it is not scaled. It counts as new."""
    who = found.identity
    errors = (FieldError("spec", f"cannot be read: {found.reason}"),)
    key = AutoscalerKey(who.namespace, who.name)
    return Stored(InvalidAutoscaler(key, who.uid, 0, errors), "9999", {})
