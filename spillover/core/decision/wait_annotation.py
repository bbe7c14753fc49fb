"""The annotation that records since when a pod waits for nodes of a unit.

The annotation is on the pod, so that a restart neither shortens nor lengthens a wait. Its value is
`{"<unit's identity>": "2026-01-01T12:00:00Z"}`.
"""

import json
from collections.abc import Iterable

from spillover.core.model.pods import WAITING_ANNOTATION, Pod
from spillover.core.model.timestamps import instant_of, seconds_of

Waits = tuple[tuple[str, float], ...]
"""Pairs of a unit's identity and the start of the wait there, in whole seconds since 1970."""

_LAST = 32_503_680_000.0  # the year 3000: Spillover writes no later time
_LONGEST = 16_384
"""Longest annotation that is read, in characters: enough for about a hundred units."""


def waits_of(pod: Pod) -> Waits:
    """The waits in the annotation. A wait that began before the pod's creation is ignored: a user
    has copied it from an older pod."""
    text = pod.annotations.get(WAITING_ANNOTATION, "")
    if not text or len(text) > _LONGEST:
        return ()
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError):
        return ()
    if not isinstance(raw, dict):
        return ()
    born = seconds_of(pod.created) or 0.0
    begun = ((unit, seconds_of(value)) for unit, value in raw.items() if isinstance(value, str))
    return tuple(sorted((unit, since) for unit, since in begun if since and born <= since <= _LAST))


def written(waits: Iterable[tuple[str, float]]) -> str:
    """The annotation's value."""
    return json.dumps({unit: instant_of(since) for unit, since in waits}, sort_keys=True)
