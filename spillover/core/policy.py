"""The internal policy model, which both dialects are turned into."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum, StrEnum
from typing import NamedTuple

from spillover.api.errors import FieldError
from spillover.core.selectors import Requirement


class PolicyKey(NamedTuple):
    """Which object a policy is: its API group tells the dialect."""

    group: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.group}/{self.name}"


class UnitKey(NamedTuple):
    """What a pod is counted under. `unit` is the unit's identity, never its index."""

    policy: PolicyKey
    unit: str


class NodeKind(Enum):
    """Which nodes a unit draws from before its requirements narrow them."""

    VIRTUAL = "virtual"
    REAL = "real"
    ELASTIC = "elastic"


class Advance(StrEnum):
    """When a pod goes on to the next unit. The values are ACK's names."""

    EXCEED_MAX = "ExceedMax"
    LACK_RESOURCE_OR_EXCEED_MAX = "LackResourceOrExceedMax"
    LACK_RESOURCE_AND_NO_TERMINATING = "LackResourceAndNoTerminating"
    TIMEOUT_OR_EXCEED_MAX = "TimeoutOrExceedMax"


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

    `waits_for_nodes` and everything from `max_resources` on is parsed and kept, and not used yet.
    """

    identity: str
    title: str
    pool: NodePool
    max: int | None = None
    pod_labels: Mapping[str, str] = field(default_factory=dict)
    pod_annotations: Mapping[str, str] = field(default_factory=dict)
    max_resources: Mapping[str, Decimal] = field(default_factory=dict)
    max_ratio: Decimal | None = None
    waits_for_nodes: bool = False

    @property
    def virtual(self) -> bool:
        return self.pool.kind is NodeKind.VIRTUAL


@dataclass(frozen=True, slots=True)
class Policy:
    """A valid policy. `created` is RFC 3339 in UTC as the API server writes it, so it sorts.

    `open`: when every unit is exhausted, nodes of no unit may be used (VKE's `prefer`).
    `deferred` names the fields in use that this version parses but does not act on.
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
    advance: Advance = Advance.LACK_RESOURCE_OR_EXCEED_MAX
    advance_timeout_seconds: float = 900.0
    preempt: Preempt = Preempt.AFTER_ALL_UNITS
    deferred: tuple[str, ...] = ()

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


LoadedPolicy = Policy | InvalidPolicy
