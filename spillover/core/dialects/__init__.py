"""Converts a ResourcePolicy of either dialect into the internal model, or reports its errors."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

from spillover.api import ack as ack_api
from spillover.api import vke as vke_api
from spillover.api.bounds import MOST_ERRORS
from spillover.api.errors import FieldError
from spillover.api.resourcepolicy import parse
from spillover.core.dialects import ack, vke
from spillover.core.model.policy import InvalidPolicy, LoadedPolicy, PolicyKey


def load(raw: Mapping[str, Any], group: str) -> LoadedPolicy:
    """Converts one object of the API server into a policy. `group` is the API group of the object
    and tells the dialect. Never raises, whatever a user writes into the object."""
    generation = (raw.get("metadata") or {}).get("generation") or 0
    return replace(_load(raw, group), generation=generation)


def load_unless_known(
    raw: Mapping[str, Any], group: str, known: Callable[[PolicyKey], LoadedPolicy | None]
) -> LoadedPolicy:
    """As `load`, but returns the known policy if the spec has not changed. After each write of a
    policy's status, the watch delivers the object with an unchanged spec. The API server increases
    `metadata.generation` only when the spec changes."""
    metadata = raw.get("metadata") or {}
    before = known(PolicyKey(group, metadata.get("namespace", ""), metadata.get("name", "")))
    same = (metadata.get("uid"), metadata.get("generation"))
    if before is None or (isinstance(before, InvalidPolicy) and before.is_unread):
        return load(raw, group)
    is_known = bool(before.generation) and (before.uid, before.generation) == same
    return before if is_known else load(raw, group)


def _load(raw: Mapping[str, Any], group: str) -> LoadedPolicy:
    metadata = raw.get("metadata") or {}
    key = PolicyKey(group, metadata.get("namespace", ""), metadata.get("name", ""))
    origin = (key, metadata.get("uid", ""), metadata.get("creationTimestamp") or "")
    if group == ack_api.GROUP:
        parsed_ack = parse(ack_api.ResourcePolicy, raw)
        errors = parsed_ack if isinstance(parsed_ack, list) else _first(ack.errors(parsed_ack.spec))
        if not isinstance(parsed_ack, list) and not errors:
            return ack.policy(*origin, parsed_ack.spec)
    else:
        parsed_vke = parse(vke_api.ResourcePolicy, raw)
        errors = parsed_vke if isinstance(parsed_vke, list) else _first(vke.errors(parsed_vke.spec))
        if not isinstance(parsed_vke, list) and not errors:
            return vke.policy(*origin, parsed_vke.spec)
    return InvalidPolicy(*origin, _readable_selector(raw.get("spec")), tuple(errors))


def _first(errors: Iterable[FieldError]) -> list[FieldError]:
    return list(islice(errors, MOST_ERRORS))


def _readable_selector(spec: object) -> Mapping[str, str]:
    """The entries of the selector that can be read. Without the other entries, a broken policy
    selects and holds back too many pods of its namespace. With too few, pods could go to the wrong
    nodes."""
    selector = spec.get("selector") if isinstance(spec, Mapping) else None
    if isinstance(selector, Mapping) and isinstance(selector.get("matchLabels"), Mapping):
        selector = selector["matchLabels"]  # the selector of a workload: see its error
    if not isinstance(selector, Mapping):
        return {}
    return {
        key: value
        for key, value in selector.items()
        if isinstance(key, str) and isinstance(value, str)
    }
