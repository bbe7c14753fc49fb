"""The internal policy model, which both dialects are turned into."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum, StrEnum
from math import inf
from typing import NamedTuple

from spillover.api.errors import FieldError
from spillover.api.partial import Identity
from spillover.core.instants import AFTER_ALL
from spillover.core.selectors import Requirement

IMPLICIT_GROUP = "spillover.dev"
"""In place of the API group, for a policy that no object stands for."""


class PolicyKey(NamedTuple):
    """Which object a policy is: its API group tells the dialect."""

    group: str
    namespace: str
    name: str

    @property
    def is_implicit(self) -> bool:
        """No object stands for it."""
        return self.group == IMPLICIT_GROUP

    def __str__(self) -> str:
        return f"{self.group}/{self.name}"


class UnitKey(NamedTuple):
    """What a pod is counted under. `unit` is the unit's identity, never its index; `group` are the
    values of the pod's labels that the policy's matchLabelKeys name."""

    policy: PolicyKey
    unit: str
    group: tuple[str, ...] = ()


class NodeKind(Enum):
    """Which nodes a unit draws from before its requirements narrow them."""

    VIRTUAL = "virtual"
    REAL = "real"
    ELASTIC = "elastic"


class Preempt(StrEnum):
    AFTER_ALL_UNITS = "AfterAllUnits"
    BEFORE_NEXT_UNIT = "BeforeNextUnit"


@dataclass(frozen=True, slots=True)
class NodePool:
    """Which nodes a unit has: those of a kind for which every requirement holds."""

    kind: NodeKind
    requirements: tuple[Requirement, ...] = ()


@dataclass(frozen=True, slots=True)
class Unit:
    """One capacity pool. `identity` is what bound pods are counted under, `title` what people read.

    Three limits: `max` pods, `max_ratio` of the replicas that the owners of the policy's pods want,
    and `max_resources` in the units of `spillover.core.resources`. A pod that finds room but no
    node here waits for one for `patience_seconds`, which may be infinite, before it goes on.
    `defaults_of_acs`: pods get the labels that ACS pods have, where nobody says otherwise.
    """

    identity: str
    title: str
    pool: NodePool
    max: int | None = None
    max_ratio: Decimal | None = None
    max_resources: Mapping[str, int] = field(default_factory=dict)
    patience_seconds: float = 0.0
    pod_labels: Mapping[str, str] = field(default_factory=dict)
    pod_annotations: Mapping[str, str] = field(default_factory=dict)
    defaults_of_acs: bool = False

    @property
    def virtual(self) -> bool:
        return self.pool.kind is NodeKind.VIRTUAL

    @property
    def waits_for_a_time(self) -> bool:
        return 0 < self.patience_seconds < inf


@dataclass(frozen=True, slots=True)
class Policy:
    """A valid policy. `created` is RFC 3339 in UTC as the API server writes it, so it sorts;
    `generation` grows with every change of the spec.

    `open`: when every unit is exhausted, nodes of no unit may be used (VKE's `prefer`).
    `awaits_terminating`: a pod does not go past a unit while a pod of that unit is terminating.
    """

    key: PolicyKey
    uid: str
    created: str
    selector: Mapping[str, str]
    units: tuple[Unit, ...]
    open: bool = False
    match_label_keys: tuple[str, ...] = ()
    ignore_previous_pod: bool = False
    ignore_terminating_pod: bool = True
    awaits_terminating: bool = False
    preempt: Preempt = Preempt.AFTER_ALL_UNITS
    generation: int = 0

    @property
    def waits_for_a_time(self) -> bool:
        return any(unit.waits_for_a_time for unit in self.units)

    @property
    def has_ratio(self) -> bool:
        return any(unit.max_ratio is not None for unit in self.units)

    @property
    def limited_resources(self) -> frozenset[str]:
        return frozenset(name for unit in self.units for name in unit.max_resources)

    def unit(self, identity: str) -> Unit | None:
        return next((unit for unit in self.units if unit.identity == identity), None)

    def rank_from_end(self, unit: Unit) -> int:
        """1 for the last unit, the number of units for the first."""
        return len(self.units) - self.units.index(unit)


@dataclass(frozen=True, slots=True)
class InvalidPolicy:
    """A policy that contradicts itself. It places nothing: the pods it selects stay Pending."""

    key: PolicyKey
    uid: str
    created: str
    selector: Mapping[str, str]
    errors: tuple[FieldError, ...]
    generation: int = 0


LoadedPolicy = Policy | InvalidPolicy


def unreadable_policy(
    found: Identity, group: str, reason: str, before: LoadedPolicy | None
) -> InvalidPolicy:
    """What stands for a policy that does not decode: an invalid one. `before` is the policy as it
    was last read. Without one it selects all pods of its namespace that no other policy selects,
    and places none of them."""
    if before is not None and before.uid != found.uid:
        before = None  # another object, of the same name
    return InvalidPolicy(
        key=PolicyKey(group, found.namespace, found.name),
        uid=found.uid,
        created=before.created if before is not None else AFTER_ALL,  # the others come first
        selector=before.selector if before is not None else {},
        errors=(FieldError("", f"cannot be read: {reason}"),),
        generation=before.generation if before is not None else 0,
    )
