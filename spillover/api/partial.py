"""Reading what can be read of an object that does not decode as a whole.

Anything that an API server stores may come from somebody who means harm. A field may be nested ten
thousand levels deep, in a part of the object that we never look at.
"""

import re
from collections.abc import Mapping

import msgspec

from spillover.api.kubernetes import parse_version

_DEPTH = 48
"""No object that we read a field of is nested as deep."""
_MOST_TOKENS = 50_000
"""Some 10 ms of work. What comes after them is left out."""

_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)
_CLOSES = {b"{": b"}", b"[": b"]"}


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
    """The same JSON with `null` in place of all that is nested deeper than 48 levels. Of more than
    50,000 brackets and strings the rest is left out. `raw` is one JSON object; what is none gives
    something that is none either. Takes no recursion, whatever the depth."""
    copy = _Copy(raw)
    for count, match in enumerate(_TOKEN.finditer(raw)):
        if count >= _MOST_TOKENS:
            return copy.cut()
        token = match[0]
        if token in _CLOSES:
            copy.opens(token, match.start())
        elif token in _CLOSES.values():
            copy.closes(match.end())
    return copy.whole()


def elements(raw: bytes) -> list[bytes]:
    """The objects of a list, each as it stands in `raw`: the elements of the array `items`, of the
    outermost object. Takes no recursion, whatever the depth."""
    found: list[bytes] = []
    depth = start = 0
    key = b""
    inside = False
    for match in _TOKEN.finditer(raw):
        token = match[0]
        if token in _CLOSES:
            depth += 1
            inside = inside or (token == b"[" and depth == 2 and key == b'"items"')
            if inside and depth == 3:
                start = match.start()
        elif token in _CLOSES.values():
            if inside and depth == 3:
                found.append(raw[start : match.end()])
            depth -= 1
            if inside and depth == 1:
                break
        elif depth == 1:
            key = token
    return found


class _Copy:
    """What is copied so far: `pieces`, and of `raw` from `done` on."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._pieces: list[bytes] = []
        self._done = 0
        self._depth = 0
        self._stack: list[bytes] = []  # what is open, down to the deepest level that is copied
        self._complete = (0, b"")  # the end of a value, and what closes all that is open there

    def opens(self, token: bytes, start: int) -> None:
        self._depth += 1
        if self._depth <= _DEPTH:
            self._stack.append(token)
        elif self._depth == _DEPTH + 1:
            self._pieces += [self._raw[self._done : start], b"null"]

    def closes(self, end: int) -> None:
        self._depth -= 1
        if self._depth == _DEPTH:
            self._done = end
        elif self._depth < _DEPTH and self._stack:
            self._stack.pop()
        if self._depth <= _DEPTH:
            self._complete = (end, self._closers())

    def cut(self) -> bytes:
        """Without what follows the last complete value."""
        if self._depth > _DEPTH:
            return b"".join([*self._pieces, self._closers()])
        position, closers = self._complete
        return b"".join([*self._pieces, self._raw[self._done : position], closers])

    def whole(self) -> bytes:
        rest = b"" if self._depth > _DEPTH else self._raw[self._done :]
        return b"".join([*self._pieces, rest])

    def _closers(self) -> bytes:
        return b"".join(_CLOSES[token] for token in reversed(self._stack))


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
