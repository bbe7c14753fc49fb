"""Maximum sizes of the parts of a policy.

The CRDs' schemas contain these bounds. Spillover checks the bounds again before it parses a policy,
so that a policy stored under an older schema costs no more than any other.
"""

from collections.abc import Iterator, Mapping
from itertools import islice

from spillover.api.errors import FieldError

MOST_UNITS = 100
MOST_ERRORS = 20
"""Maximum number of reported errors per policy. The check stops at this number."""
MOST_PAIRS = 64
"""Maximum number of entries of a selector, node selector, labels, annotations or maxResources."""
MOST_TERMS = 32
MOST_VALUES = 64
LONGEST_NAME = 63
LONGEST_TEXT = 1024
"""Maximum length in characters of a value without its own bound, except annotations."""
LONGEST_ANNOTATION = 256 * 1024

LISTS = {
    "units": MOST_UNITS,
    "subsets": MOST_UNITS,
    "matchLabelKeys": MOST_VALUES,
    "nodeSelectorTerm": MOST_TERMS,
    "values": MOST_VALUES,
}
_MAPS = ("selector", "nodeSelector", "podLabels", "podAnnotations", "maxResources")
_TEXTS = (
    "strategy", "policy", "timeout", "preemptPolicy", "resource", "name", "type", "operator", "key",
    "maxReplicasRatio", "whenNotReachMax",
)  # fmt: skip
_KNOWN = (*LISTS, *_MAPS, *_TEXTS, "whenTryNextUnits")
"""Fields of both dialects, at any level. Unknown fields are not parsed."""


def errors(spec: object) -> list[FieldError]:
    """Returns an error with its path for each part of a raw spec that is too large, at most 20
    errors. Does not check the contents of a part that is too large."""
    return list(islice(_of_part("spec", spec), MOST_ERRORS))


def _of_part(path: str, part: object) -> Iterator[FieldError]:
    """Checks the spec, or an element of one of its lists."""
    if isinstance(part, str):
        yield from _too_long(path, part, LONGEST_TEXT)
    elif isinstance(part, Mapping):
        for name in _KNOWN:
            if name in part:
                yield from _of_field(f"{path}.{name}", name, part[name])


def _of_field(path: str, name: str, value: object) -> Iterator[FieldError]:
    if name in LISTS and isinstance(value, list):
        if len(value) > LISTS[name]:
            yield FieldError(path, f"{len(value)} are more than {LISTS[name]}")
            return
        for index, each in enumerate(value):
            yield from _of_part(f"{path}[{index}]", each)
    elif name in _MAPS and isinstance(value, Mapping):
        longest = LONGEST_ANNOTATION if name == "podAnnotations" else LONGEST_TEXT
        yield from _of_map(path, value, longest)
    else:
        yield from _of_part(path, value)


def _of_map(path: str, value: Mapping[str, object], longest: int) -> Iterator[FieldError]:
    if len(value) > MOST_PAIRS:
        yield FieldError(path, f"{len(value)} entries are more than {MOST_PAIRS}")
        return
    for key, each in value.items():
        yield from _too_long(path, key, LONGEST_TEXT)
        if isinstance(each, str):
            yield from _too_long(f"{path}.{key[:LONGEST_NAME]}", each, longest)


def _too_long(path: str, text: str, longest: int) -> Iterator[FieldError]:
    if len(text) > longest:
        yield FieldError(path, f"{len(text)} characters are more than {longest}")
