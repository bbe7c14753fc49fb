"""The dialect of VKE."""

from collections.abc import Iterator
from decimal import Decimal
from math import inf

from spillover.api import vke
from spillover.api.errors import FieldError
from spillover.api.labels import label_errors
from spillover.core.dialects.checks import (
    choice,
    limit_errors,
    name_errors,
    number_errors,
    ratio_errors,
    required_choice,
)
from spillover.core.model.policy import NodeKind, NodePool, Policy, PolicyKey, Unit
from spillover.core.model.selectors import Operator, Requirement, integer

_KINDS = {"ecs": NodeKind.REAL, "vci": NodeKind.VIRTUAL}
_VALUE_COUNTS = {
    Operator.IN: "at least one value",
    Operator.NOT_IN: "at least one value",
    Operator.EXISTS: "no values",
    Operator.DOES_NOT_EXIST: "no values",
    Operator.GT: "exactly one integer",
    Operator.LT: "exactly one integer",
}


def policy(key: PolicyKey, uid: str, created: str, spec: vke.Spec) -> Policy:
    """Converts a spec without errors into the internal model."""
    return Policy(
        key=key,
        uid=uid,
        created=created,
        selector=spec.selector or {},
        units=tuple(
            Unit(
                identity=subset.name or "",
                title=subset.name or "",
                pool=NodePool(
                    _KINDS[subset.type or ""],
                    tuple(
                        Requirement(
                            term.key or "", Operator(term.operator or ""), tuple(term.values or ())
                        )
                        for term in subset.node_selector_term or ()
                    ),
                ),
                max=subset.max_replicas,
                max_ratio=(
                    Decimal(subset.max_replicas_ratio) if subset.max_replicas_ratio else None
                ),
                patience_seconds=inf if subset.when_not_reach_max == "DoNotSchedule" else 0.0,
            )
            for subset in spec.subsets or ()
        ),
        open=spec.strategy != "require",
    )


def errors(spec: vke.Spec) -> Iterator[FieldError]:
    """Every part of the spec that contradicts itself or violates the rules of Kubernetes."""
    yield from label_errors("spec.selector", spec.selector or {})
    yield from choice("spec.strategy", spec.strategy, ["prefer", "require"])
    yield from number_errors("spec.subsets", spec.subsets or [], "subset")
    names: set[str] = set()
    for index, subset in enumerate(spec.subsets or ()):
        path = f"spec.subsets[{index}]"
        yield from name_errors(f"{path}.name", subset.name)
        if subset.name and subset.name in names:
            yield FieldError(f"{path}.name", f"{subset.name!r} names another subset already")
        names.add(subset.name or "")
        yield from _subset_errors(path, subset)


def _subset_errors(path: str, subset: vke.Subset) -> Iterator[FieldError]:
    yield from required_choice(f"{path}.type", subset.type, list(_KINDS))
    yield from limit_errors(f"{path}.maxReplicas", subset.max_replicas)
    yield from ratio_errors(f"{path}.maxReplicasRatio", subset.max_replicas_ratio)
    yield from choice(
        f"{path}.whenNotReachMax", subset.when_not_reach_max, ["ScheduleAnyWay", "DoNotSchedule"]
    )
    for index, term in enumerate(subset.node_selector_term or ()):
        yield from _term_errors(f"{path}.nodeSelectorTerm[{index}]", term)


def _term_errors(path: str, term: vke.NodeSelectorTerm) -> Iterator[FieldError]:
    if not term.key:
        yield FieldError(f"{path}.key", "is required")
    else:
        yield from label_errors(f"{path}.key", {term.key: ""})
    wrong_operator = list(required_choice(f"{path}.operator", term.operator, list(Operator)))
    if wrong_operator:
        yield from wrong_operator
        return
    operator, values = Operator(term.operator or ""), term.values or []
    match operator:
        case Operator.IN | Operator.NOT_IN:
            fits = bool(values)
        case Operator.EXISTS | Operator.DOES_NOT_EXIST:
            fits = not values
        case Operator.GT | Operator.LT:
            fits = len(values) == 1 and integer(values[0]) is not None
    if not fits:
        yield FieldError(f"{path}.values", f"{operator} takes {_VALUE_COUNTS[operator]}")
