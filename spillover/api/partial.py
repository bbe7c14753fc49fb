"""Reads the readable parts of an object that does not decode as a whole.

Every stored object may come from a malicious user. A field may be nested ten thousand levels deep,
in a part of the object that Spillover never reads.
"""

import re
from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec

from spillover.api.kubernetes import parse_version

T = TypeVar("T")

_DEPTH = 48
"""Maximum nesting depth. No field that Spillover reads is nested deeper."""

_FIELD_DEPTH = 2

_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)
"""An unterminated string extends to the end of the input, so that no byte is scanned twice."""
_OPENS = (b"{", b"[")
_CLOSES = (b"}", b"]")


class Identity(msgspec.Struct, frozen=True):
    """The fields that identify an object, and those that tell in which unit a pod counts."""

    namespace: str
    name: str
    uid: str
    version: int
    """The resourceVersion."""
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    node: str
    finished: bool
    terminating: bool


def shallow(raw: bytes) -> bytes:
    """Returns the same JSON with `null` in place of every value that is nested deeper than 48
    levels. `raw` is one JSON object. If it is not, the result is not a JSON object either. Uses no
    recursion, at any depth. Takes some tenths of a second for the largest object that an API server
    stores."""
    pieces: list[bytes] = []
    done = depth = 0  # `raw` before `done` is in `pieces` or left out
    for match in _TOKEN.finditer(raw):
        token = match[0]
        if token in _OPENS:
            depth += 1
            if depth == _DEPTH + 1:
                pieces += [raw[done : match.start()], b"null"]
        elif token in _CLOSES:
            depth -= 1
            if depth == _DEPTH:
                done = match.end()
    rest = b"" if depth > _DEPTH else raw[done:]
    return b"".join([*pieces, rest])


def is_deep(raw: bytes, field: bytes) -> bool:
    """Whether the value of `field`, two levels deep in an object, is nested deeper than 48 levels.
    Uses no recursion."""
    depth, key, wanted = 0, b"", b'"' + field + b'"'
    for match in _TOKEN.finditer(raw):
        token = match[0]
        if token in _OPENS:
            depth += 1
            if depth > _DEPTH and key == wanted:
                return True
        elif token in _CLOSES:
            depth -= 1
        elif depth == _FIELD_DEPTH:
            key = token
    return False


def decoded(raw: bytes | msgspec.Raw, decode: Callable[[bytes | msgspec.Raw], T]) -> T:
    """Returns the result of `decode`. If `raw` is nested too deep for `decode`, leaves out its
    deeply nested values. Raises the errors of `decode`, except RecursionError."""
    try:
        return decode(raw)
    except RecursionError:
        return decode(shallow(bytes(raw)))


def elements(raw: bytes) -> tuple[list[bytes], bytes]:
    """Returns the elements of the array `items` of the outermost object, each as its bytes in
    `raw`, and `raw` without these elements. Uses no recursion, at any depth."""
    found: list[bytes] = []
    depth = start = first = 0
    key = b""
    inside = False
    for match in _TOKEN.finditer(raw):
        token = match[0]
        if token in _OPENS:
            depth += 1
            if token == b"[" and depth == 2 and key == b'"items"':
                inside, first = True, match.end()
            if inside and depth == 3:
                start = match.start()
        elif token in _CLOSES:
            if inside and depth == 3:
                found.append(raw[start : match.end()])
            if inside and depth == 2:
                return found, raw[:first] + raw[match.start() :]
            depth -= 1
        elif depth == 1:
            key = token
    return found, raw


class _Meta(msgspec.Struct, rename="camel"):
    name: str
    uid: str
    resource_version: str
    namespace: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    deletion_timestamp: str | None = None


class _Object(msgspec.Struct):
    metadata: _Meta
    spec: object = None
    status: object = None


_OBJECTS = msgspec.json.Decoder(_Object)
_FINISHED = ("Succeeded", "Failed")


def identity(raw: bytes) -> Identity:
    """Reads the identity of an object. Raises msgspec.MsgspecError or ValueError if `raw` is not an
    object of an API server."""
    found = _OBJECTS.decode(shallow(raw))
    metadata = found.metadata
    return Identity(
        namespace=metadata.namespace,
        name=metadata.name,
        uid=metadata.uid,
        version=parse_version(metadata.resource_version),
        labels=metadata.labels or {},
        annotations=metadata.annotations or {},
        node=_text(found.spec, "nodeName"),
        finished=_text(found.status, "phase") in _FINISHED,
        terminating=metadata.deletion_timestamp is not None,
    )


def _text(part: object, field: str) -> str:
    value = part.get(field) if isinstance(part, dict) else None
    return value if isinstance(value, str) else ""
