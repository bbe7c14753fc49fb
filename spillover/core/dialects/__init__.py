"""Turning a ResourcePolicy of either dialect into the internal model, or saying what is wrong."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

from spillover.api import ack as ack_api
from spillover.api import vke as vke_api
from spillover.api.bounds import MOST_ERRORS
from spillover.api.errors import FieldError
from spillover.api.resourcepolicy import parse
from spillover.core.dialects import ack, vke
from spillover.core.policy import InvalidPolicy, LoadedPolicy, PolicyKey


def load(raw: Mapping[str, Any], group: str) -> LoadedPolicy:
    """The policy in one object of the API server. `group` is the API group it was read from, which
    tells the dialect. Never raises on what a user can write."""
    generation = (raw.get("metadata") or {}).get("generation") or 0
    return replace(_load(raw, group), generation=generation)


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
    """The selector as far as it can be read. What cannot be is left out, so that a broken policy
    holds back too many pods of its namespace rather than letting them astray."""
    selector = spec.get("selector") if isinstance(spec, Mapping) else None
    if not isinstance(selector, Mapping):
        return {}
    return {
        key: value
        for key, value in selector.items()
        if isinstance(key, str) and isinstance(value, str)
    }
