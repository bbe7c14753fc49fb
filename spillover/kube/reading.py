"""Decoding one object of the API server, whatever it contains."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from spillover.api.kubernetes import PodObject
from spillover.api.partial import Identity, decoded, identity
from spillover.core.pods import Pod, pod_from_wire
from spillover.kube.session import NoAnswerError

T = TypeVar("T")

_PODS = msgspec.json.Decoder(PodObject)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An object that does not decode: what names it, and why."""

    identity: Identity
    reason: str


def readable(
    raw: bytes | msgspec.Raw, decode: Callable[[bytes | msgspec.Raw], T]
) -> T | Unreadable:
    """The object, or what can be told of one that does not decode, whatever the decoder raises.
    What is nested too deep to be read by anybody is left out first. Raises NoAnswerError for what
    no API server sends: an object without a name or version."""
    try:
        return decoded(raw, decode)
    except Exception as error:  # noqa: BLE001 - whatever one object contains, the others are taken in
        reason = f"{type(error).__name__}: {error}"[:_LONGEST_REASON]
    try:
        return Unreadable(identity(bytes(raw)), reason)
    except (msgspec.MsgspecError, ValueError) as error:
        raise NoAnswerError(f"not such an object: {error}") from error


_LONGEST_REASON = 300


def pod_in(content: bytes) -> Pod:
    """The pod in an answer. Raises NoAnswerError for what does not decode."""
    found = readable(content, pod_of)
    if isinstance(found, Unreadable):
        raise NoAnswerError(f"not a pod: {found.reason}")
    return found


def pod_of(raw: bytes | msgspec.Raw) -> Pod:
    """Raises msgspec.MsgspecError, ValueError or RecursionError."""
    return pod_from_wire(_PODS.decode(raw))
