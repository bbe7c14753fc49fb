"""Decodes one object of the API server, whatever its content is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from spillover.api.kubernetes import PodObject
from spillover.api.partial import Identity, decoded, identity
from spillover.core.model.pods import Pod, pod_from_wire
from spillover.kube.session import NoAnswerError

T = TypeVar("T")

_PODS = msgspec.json.Decoder(PodObject)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An object that does not decode."""

    identity: Identity
    reason: str
    """Why the object does not decode."""


def readable(
    raw: bytes | msgspec.Raw, decode: Callable[[bytes | msgspec.Raw], T]
) -> T | Unreadable:
    """Decodes one object. Parts of the object that are nested too deep for any decoder are left out
    first. If `decode` raises any exception, returns an Unreadable. Raises NoAnswerError for an
    object without a name or version: no API server sends one."""
    try:
        return decoded(raw, decode)
    except Exception as error:  # noqa: BLE001 - one bad object must not stop the others
        reason = f"{type(error).__name__}: {error}"[:_LONGEST_REASON]
    try:
        return Unreadable(identity(bytes(raw)), reason)
    except (msgspec.MsgspecError, ValueError) as error:
        raise NoAnswerError(f"not such an object: {error}") from error


_LONGEST_REASON = 300


def pod_in(content: bytes) -> Pod:
    """The pod in an answer. Raises NoAnswerError if it does not decode."""
    found = readable(content, pod_of)
    if isinstance(found, Unreadable):
        raise NoAnswerError(f"not a pod: {found.reason}")
    return found


def pod_of(raw: bytes | msgspec.Raw) -> Pod:
    """Decodes a pod. Raises msgspec.MsgspecError, ValueError or RecursionError."""
    return pod_from_wire(_PODS.decode(raw))
