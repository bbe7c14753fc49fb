"""How large the parts of a policy may be.

The CRDs' schemas say so, and it is checked again before a policy is parsed: one that was stored
under an older schema costs no more than any other.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from spillover.api.errors import FieldError

MOST_UNITS = 100
MOST_ERRORS = 20
"""Reported of one policy. The walk ends there."""
MOST_PAIRS = 64
"""Of a selector, a node selector, labels, annotations or maxResources."""
MOST_TERMS = 32
MOST_VALUES = 64
LONGEST_NAME = 63
LONGEST_TEXT = 1024
"""Characters of a value that has no bound of its own, an annotation's apart."""
LONGEST_ANNOTATION = 256 * 1024

LISTS = {
    "units": MOST_UNITS,
    "subsets": MOST_UNITS,
    "matchLabelKeys": MOST_VALUES,
    "nodeSelectorTerm": MOST_TERMS,
    "values": MOST_VALUES,
}
_DEPTH = 8
"""No field that we know is nested as deep."""


def errors(spec: object) -> list[FieldError]:
    """What is too large in a spec as it was read, with paths: 20 errors at the most. What is too
    large is not looked into."""
    return list(islice(_errors("spec", "spec", spec, _DEPTH), MOST_ERRORS))


def _errors(path: str, name: str, value: object, depth: int) -> Iterator[FieldError]:
    if depth == 0:
        return
    if isinstance(value, str):
        yield from _too_long(path, value, LONGEST_TEXT)
    elif isinstance(value, list):
        most = LISTS.get(name, MOST_UNITS)
        if len(value) > most:
            yield FieldError(path, f"{len(value)} are more than {most}")
            return
        for index, each in enumerate(value):
            yield from _errors(f"{path}[{index}]", "", each, depth - 1)
    elif isinstance(value, Mapping):
        yield from _of_mapping(path, name, value, depth)


def _of_mapping(path: str, name: str, value: Mapping[str, Any], depth: int) -> Iterator[FieldError]:
    if len(value) > MOST_PAIRS:
        yield FieldError(path, f"{len(value)} entries are more than {MOST_PAIRS}")
        return
    for key, each in value.items():
        inner = f"{path}.{key[:LONGEST_NAME]}"
        yield from _too_long(path, key, LONGEST_TEXT)
        if name == "podAnnotations" and isinstance(each, str):
            yield from _too_long(inner, each, LONGEST_ANNOTATION)
        else:
            yield from _errors(inner, key, each, depth - 1)


def _too_long(path: str, text: str, longest: int) -> Iterator[FieldError]:
    if len(text) > longest:
        yield FieldError(path, f"{len(text)} characters are more than {longest}")
