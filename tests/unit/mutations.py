"""Documents as nobody should send them: values replaced, removed and added, and bytes broken."""

import copy
import json
from collections.abc import Iterator
from random import Random
from typing import Any

NASTY: list[Any] = [
    None, True, 0, -1, 2**70, 0.5, 1e308, "", " ", "x" * 5000, "\x00", "☃", "true", "9" * 400,
    [], {}, [[]], [None], {"": None}, {"metadata": {}}, {"x": {"y": [1, {}]}},
]  # fmt: skip
RAW = [
    b"[" * 2000, b'{"a":' * 2000, b"NaN", b"1e999", b'"\\ud800"', b'"\xff"', b"\x00",
    b"\xef\xbb\xbf", b"-", b'{"Pod":{},"Pod":{}}', b",", b"}", b'"', b"\\",
    b"\r\n\r\nGET / HTTP/1.1\r\n\r\n",
]  # fmt: skip


def nasty(chance: Random) -> Any:
    return copy.deepcopy(chance.choice(NASTY))


def places(document: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) in a document."""
    keys = document.keys() if isinstance(document, dict) else range(len(document))
    for key in list(keys):
        yield document, key
        if isinstance(document[key], dict | list):
            yield from places(document[key])


def mutated(chance: Random, document: Any) -> bytes:
    """A document with a few values replaced, removed or added, and perhaps some bytes broken."""
    document = copy.deepcopy(document)
    for _ in range(chance.choice([0, 1, 1, 2, 5])):
        container, key = chance.choice(list(places(document)) or [({}, "x")])
        match chance.randrange(4):
            case 0 if isinstance(container, dict):
                container.pop(key, None)
            case 1 if isinstance(container, dict):
                container[chance.choice(["", "later", "Nodes", "metadata", "spec"])] = nasty(chance)
            case _ if container:
                container[key] = nasty(chance)
    body = json.dumps(document, ensure_ascii=chance.random() < 0.5).encode(errors="replace")
    if chance.random() < 0.4:
        at = chance.randrange(len(body) + 1)
        match chance.randrange(4):
            case 0:
                body = body[:at]
            case 1:
                body = body[:at] + chance.choice(RAW) + body[at:]
            case 2:
                body = body[:at] + chance.randbytes(3) + body[at + 3 :]
            case 3:
                body = body[at:] + body[:at]
    return body
