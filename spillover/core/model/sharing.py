"""One object for texts and mappings that many pods or nodes have in common.

Decoding makes an object of its own for each: a node's name once for each of its pods. With 50,000
pods these are a third of the memory. Only short ones are looked up, and the caches are bounded,
because a tenant may make many that are all different.
"""

from collections.abc import Mapping
from functools import lru_cache

_LONGEST = 256
_MOST_PAIRS = 16
_NO_PAIRS: Mapping[str, str] = {}


def one_text(text: str) -> str:
    """The same text."""
    return _text(text) if len(text) <= _LONGEST else text


def one_mapping(found: dict[str, str] | None) -> Mapping[str, str]:
    """The same pairs. Nobody may change them."""
    if not found:
        return _NO_PAIRS
    if len(found) > _MOST_PAIRS or any(len(each) > _LONGEST for each in found.values()):
        return found
    return _mapping(tuple(found.items()))


@lru_cache(maxsize=8192)
def _text(text: str) -> str:
    return text


@lru_cache(maxsize=4096)
def _mapping(pairs: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    return dict(pairs)
