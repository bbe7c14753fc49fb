"""Reading what can be read of an object that does not decode as a whole.

Anything that an API server stores may come from somebody who means harm. A field may be nested ten
thousand levels deep, in a part of the object that we never look at.
"""

import re
from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec

from spillover.api.kubernetes import parse_version

T = TypeVar("T")

_DEPTH = 48
"""No object that we read a field of is nested as deep."""

_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)
_OPENS = (b"{", b"[")
_CLOSES = (b"}", b"]")


class Identity(msgspec.Struct, frozen=True):
    """What names an object, and what tells where a pod counts. `version` is its resourceVersion."""

    namespace: str
    name: str
    uid: str
    version: int
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    node: str
    finished: bool
    terminating: bool


def shallow(raw: bytes) -> bytes:
    """The same JSON with `null` in place of all that is nested deeper than 48 levels. `raw` is one
    JSON object; what is none gives something that is none either. Takes no recursion, whatever the
    depth, and some tenths of a second for the largest object that an API server stores."""
    pieces: list[bytes] = []
    done = depth = 0  # all of `raw` before `done` is in pieces, or left out
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


def decoded(raw: bytes | msgspec.Raw, decode: Callable[[bytes | msgspec.Raw], T]) -> T:
    """What `decode` makes of it, without what is nested too deep for it. Raises what `decode`
    raises, but no RecursionError."""
    try:
        return decode(raw)
    except RecursionError:
        return decode(shallow(bytes(raw)))


def elements(raw: bytes) -> tuple[list[bytes], bytes]:
    """The objects of a list, each as it stands in `raw`, and the list without them: the elements of
    the array `items`, of the outermost object. Takes no recursion, whatever the depth."""
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
    """Raises msgspec.MsgspecError or ValueError for what is no object of an API server."""
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
