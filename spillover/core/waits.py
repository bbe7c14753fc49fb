"""Since when a pod waits for nodes of a unit. It is kept with the pod, in an annotation, so that a
restart neither shortens nor lengthens a wait: `{"<unit's identity>": "2026-01-01T12:00:00Z"}`.
"""

import json
from collections.abc import Iterable

from spillover.core.instants import instant_of, seconds_of
from spillover.core.pods import WAITING_ANNOTATION, Pod

Waits = tuple[tuple[str, float], ...]
"""Unit's identity and when its wait began, in seconds since 1970, whole ones."""

_LAST = 32_503_680_000.0  # the year 3000: nothing that was written by us is later
_LONGEST = 16_384
"""Characters of the annotation that are read: some hundred units."""


def waits_of(pod: Pod) -> Waits:
    """What the annotation says. Ignored where a user has copied it from an older pod."""
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


def first_refused(pod: Pod) -> float | None:
    """When the scheduler first found no place for the pod: its first wait begins then at the latest
    (filter is not called while no node at all is feasible)."""
    return seconds_of(pod.since) if pod.is_refused else None
