"""The dialect of ACK."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from math import inf

from spillover.api import ack
from spillover.api.duration import parse_duration
from spillover.api.errors import FieldError
from spillover.api.labels import annotation_errors, key_problem, label_errors
from spillover.core.dialects.checks import (
    choice,
    limit_errors,
    number_errors,
    quantity_errors,
    required_choice,
    timeout_errors,
)
from spillover.core.model.policy import NodeKind, NodePool, Policy, PolicyKey, Preempt, Unit
from spillover.core.model.resources import limit_of
from spillover.core.model.selectors import Operator, Requirement

_LONGEST_TITLE = 80
"""Most characters of a node selector in a unit's title. The title is repeated for each node."""

WAIT_FOR_SCALING_MARKER = "k8s.aliyun.com/resource-policy-wait-for-ecs-scaling"
"""A key of podLabels that makes its unit wait for the autoscaler. It is not a label."""


class Advance(StrEnum):
    """When a pod goes on to the next unit."""

    EXCEED_MAX = "ExceedMax"
    LACK_RESOURCE_OR_EXCEED_MAX = "LackResourceOrExceedMax"
    LACK_RESOURCE_AND_NO_TERMINATING = "LackResourceAndNoTerminating"
    TIMEOUT_OR_EXCEED_MAX = "TimeoutOrExceedMax"


_KINDS = {
    "ecs": NodeKind.REAL,
    "elastic": NodeKind.ELASTIC,
    "eci": NodeKind.VIRTUAL,
    "acs": NodeKind.VIRTUAL,
}


def policy(key: PolicyKey, uid: str, created: str, spec: ack.Spec) -> Policy:
    """Converts a spec without errors into the internal model."""
    units = spec.units or []
    when = spec.when_try_next_units or ack.WhenTryNextUnits()
    advance = Advance(when.policy or Advance.LACK_RESOURCE_OR_EXCEED_MAX)
    timeout = parse_duration(when.timeout or "15m")
    pools = [
        NodePool(
            _KINDS[unit.resource or ""],
            tuple(
                Requirement(key, Operator.IN, (value,))
                for key, value in sorted((unit.node_selector or {}).items())
            ),
        )
        for unit in units
    ]
    return Policy(
        key=key,
        uid=uid,
        created=created,
        selector=spec.selector or {},
        units=tuple(
            Unit(
                identity=identity,
                title=title,
                pool=pool,
                max=unit.max,
                pod_labels=_without_marker(unit.pod_labels),
                pod_annotations=unit.pod_annotations or {},
                max_resources={
                    name: limit_of(name, quantity)
                    for name, quantity in (unit.max_resources or {}).items()
                },
                patience_seconds=_patience(unit, advance, timeout),
                defaults_of_acs=unit.resource == "acs",
            )
            for unit, pool, identity, title in zip(
                units, pools, _identities(units), _titles(units), strict=True
            )
        ),
        match_label_keys=tuple(spec.match_label_keys or ()),
        ignore_previous_pod=spec.ignore_previous_pod or False,
        ignore_terminating_pod=spec.ignore_terminating_pod is not False,
        awaits_terminating=advance is Advance.LACK_RESOURCE_AND_NO_TERMINATING,
        preempt=Preempt(spec.preempt_policy or Preempt.AFTER_ALL_UNITS),
    )


def _without_marker(pod_labels: Mapping[str, str] | None) -> dict[str, str]:
    return {k: v for k, v in (pod_labels or {}).items() if k != WAIT_FOR_SCALING_MARKER}


def _patience(unit: ack.Unit, advance: Advance, timeout: float) -> float:
    """Seconds that a pod waits for a node in a unit that has room."""
    if (unit.pod_labels or {}).get(WAIT_FOR_SCALING_MARKER) == "true":
        return timeout
    limited = unit.max is not None or bool(unit.max_resources)
    match advance:
        case Advance.EXCEED_MAX if limited:
            return inf
        case Advance.TIMEOUT_OR_EXCEED_MAX if limited:
            return timeout
    return 0.0


def _identities(units: Sequence[ack.Unit]) -> list[str]:
    """A digest for each unit of its resource, node selector, labels and annotations. An identity
    stays the same when units are reordered or a `max` changes."""
    digests = []
    for unit in units:
        labels = _without_marker(unit.pod_labels)
        essence = [unit.resource, unit.node_selector, labels, unit.pod_annotations]
        canonical = json.dumps([part or {} for part in essence], sort_keys=True)
        digests.append(f"{unit.resource}-{hashlib.sha256(canonical.encode()).hexdigest()[:10]}")
    return _with_ordinals(digests, "-")


def _titles(units: Sequence[ack.Unit]) -> list[str]:
    """`ecs` if no other unit has this resource, else for example `ecs(pool=prepaid)`."""
    resources = Counter(unit.resource for unit in units)
    titles = []
    for unit in units:
        title = unit.resource or ""
        if resources[unit.resource] > 1 and unit.node_selector:
            pairs = ",".join(f"{key}={value}" for key, value in sorted(unit.node_selector.items()))
            title += f"({pairs if len(pairs) <= _LONGEST_TITLE else pairs[:_LONGEST_TITLE] + '…'})"
        titles.append(title)
    return _with_ordinals(titles, "#")


def _with_ordinals(names: Sequence[str], separator: str) -> list[str]:
    """Adds an ordinal to the second and each later of equal names."""
    seen: Counter[str] = Counter()
    result = []
    for name in names:
        seen[name] += 1
        result.append(name if seen[name] == 1 else f"{name}{separator}{seen[name]}")
    return result


def errors(spec: ack.Spec) -> Iterator[FieldError]:
    """Every part of the spec that contradicts itself or violates the rules of Kubernetes."""
    yield from label_errors("spec.selector", spec.selector or {})
    yield from choice("spec.strategy", spec.strategy, ["prefer"])
    yield from choice("spec.preemptPolicy", spec.preempt_policy, list(Preempt))
    if when := spec.when_try_next_units:
        yield from choice("spec.whenTryNextUnits.policy", when.policy, list(Advance))
        yield from timeout_errors("spec.whenTryNextUnits.timeout", when.timeout)
    for index, key in enumerate(spec.match_label_keys or ()):
        yield from label_errors(f"spec.matchLabelKeys[{index}]", {key: ""})
    yield from number_errors("spec.units", spec.units or [], "unit")
    for index, unit in enumerate(spec.units or ()):
        yield from _unit_errors(f"spec.units[{index}]", unit, spec)


def _unit_errors(path: str, unit: ack.Unit, spec: ack.Spec) -> Iterator[FieldError]:
    yield from required_choice(f"{path}.resource", unit.resource, list(_KINDS))
    yield from label_errors(f"{path}.nodeSelector", unit.node_selector or {})
    yield from limit_errors(f"{path}.max", unit.max)
    for name, quantity in (unit.max_resources or {}).items():
        if problem := key_problem(name):
            yield FieldError(f"{path}.maxResources", problem)
            continue
        yield from quantity_errors(f"{path}.maxResources[{name}]", quantity)
    yield from label_errors(f"{path}.podLabels", unit.pod_labels or {})
    yield from annotation_errors(f"{path}.podAnnotations", unit.pod_annotations or {})
    for key, value in _without_marker(unit.pod_labels).items():
        wanted = (spec.selector or {}).get(key)
        if wanted not in (None, value):
            yield FieldError(
                f"{path}.podLabels[{key}]",
                f"would change the policy's own selector, which wants {wanted!r}",
            )
        if key in (spec.match_label_keys or ()):
            yield FieldError(
                f"{path}.podLabels[{key}]", "would change a label that matchLabelKeys counts by"
            )
