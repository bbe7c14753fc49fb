"""The internal policy model. Policies of both dialects are converted into it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum, StrEnum
from functools import cached_property
from math import inf
from typing import NamedTuple

from spillover.api.errors import FieldError
from spillover.api.partial import Identity
from spillover.core.model.selectors import Requirement
from spillover.core.model.timestamps import AFTER_ALL

IMPLICIT_GROUP = "spillover.dev"
"""Takes the place of the API group for a policy that has no object in the API server."""


class PolicyKey(NamedTuple):
    """Identifies the object that defines a policy. The API group tells the dialect."""

    group: str
    namespace: str
    name: str

    @property
    def is_implicit(self) -> bool:
        """The policy has no object in the API server."""
        return self.group == IMPLICIT_GROUP

    def __str__(self) -> str:
        return f"{self.group}/{self.name}"


class UnitKey(NamedTuple):
    """The key that a pod is counted under."""

    policy: PolicyKey
    unit: str
    """The unit's identity, never its index."""
    group: tuple[str, ...] = ()
    """Values of the pod's labels that the policy's matchLabelKeys names."""


class NodeKind(Enum):
    """The kind of nodes that a unit can have. Its requirements then select among these nodes."""

    VIRTUAL = "virtual"
    REAL = "real"
    ELASTIC = "elastic"


class Preempt(StrEnum):
    AFTER_ALL_UNITS = "AfterAllUnits"
    BEFORE_NEXT_UNIT = "BeforeNextUnit"


@dataclass(frozen=True, slots=True)
class NodePool:
    """The nodes of a unit: all nodes of the kind that meet every requirement."""

    kind: NodeKind
    requirements: tuple[Requirement, ...] = ()
    _hash: int = field(init=False, repr=False, compare=False)
    """Known once: each decision looks up pools."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((self.kind, self.requirements)))

    def __hash__(self) -> int:
        return self._hash


@dataclass(frozen=True, slots=True)
class Unit:
    """One capacity pool, with three limits: `max`, `max_ratio` and `max_resources`."""

    identity: str
    """Bound pods are counted under it."""
    title: str
    """The unit's name for people."""
    pool: NodePool
    max: int | None = None
    """Limit of pods."""
    max_ratio: Decimal | None = None
    """Limit of pods, as a ratio of the replicas that the owners of the policy's pods want."""
    max_resources: Mapping[str, int] = field(default_factory=dict)
    """Limit of requests by resource, in the units of `spillover.core.model.resources`."""
    patience_seconds: float = 0.0
    """How long a pod waits for a node when the unit has room but no node. May be infinite. After
    the wait, the pod goes on to the next unit."""
    pod_labels: Mapping[str, str] = field(default_factory=dict)
    pod_annotations: Mapping[str, str] = field(default_factory=dict)
    defaults_of_acs: bool = False
    """Pods get the labels of ACS pods, unless the pod or the unit sets these labels."""

    @property
    def virtual(self) -> bool:
        return self.pool.kind is NodeKind.VIRTUAL

    @property
    def waits_for_a_time(self) -> bool:
        return 0 < self.patience_seconds < inf


@dataclass(frozen=True)  # no slots: cached_property stores its values in __dict__
class Policy:
    """A valid policy."""

    key: PolicyKey
    uid: str
    created: str
    """RFC 3339 in UTC as the API server writes it, so it sorts."""
    selector: Mapping[str, str]
    units: tuple[Unit, ...]
    open: bool = False
    """When every unit is exhausted, pods may use nodes outside the units (VKE's `prefer`)."""
    match_label_keys: tuple[str, ...] = ()
    ignore_previous_pod: bool = False
    ignore_terminating_pod: bool = True
    awaits_terminating: bool = False
    """A pod does not go past a unit while a pod of that unit is terminating."""
    preempt: Preempt = Preempt.AFTER_ALL_UNITS
    generation: int = 0
    """Grows with every change of the spec."""

    @cached_property
    def waits_for_a_time(self) -> bool:
        return any(unit.waits_for_a_time for unit in self.units)

    @cached_property
    def has_ratio(self) -> bool:
        return any(unit.max_ratio is not None for unit in self.units)

    @cached_property
    def limited_resources(self) -> frozenset[str]:
        return frozenset(name for unit in self.units for name in unit.max_resources)

    def unit(self, identity: str) -> Unit | None:
        return next((unit for unit in self.units if unit.identity == identity), None)

    def rank_from_end(self, unit: Unit) -> int:
        """1 for the last unit, the number of units for the first."""
        return len(self.units) - self.units.index(unit)


@dataclass(frozen=True, slots=True)
class InvalidPolicy:
    """A policy with errors. It places no pods: the pods that it selects stay Pending."""

    key: PolicyKey
    uid: str
    created: str
    selector: Mapping[str, str]
    errors: tuple[FieldError, ...]
    generation: int = 0
    is_unread: bool = False
    """The policy stands for an object that does not decode."""


LoadedPolicy = Policy | InvalidPolicy


def unreadable_policy(
    found: Identity, group: str, reason: str, before: LoadedPolicy | None
) -> InvalidPolicy:
    """An invalid policy that stands for a policy that does not decode. `before` is the policy as it
    was last read. Without `before`, the invalid policy selects all pods of its namespace that no
    other policy selects, and places none of them."""
    if before is not None and before.uid != found.uid:
        before = None  # another object with the same name
    return InvalidPolicy(
        key=PolicyKey(group, found.namespace, found.name),
        uid=found.uid,
        created=before.created if before is not None else AFTER_ALL,  # older policies win
        selector=before.selector if before is not None else {},
        errors=(FieldError("", f"cannot be read: {reason}"),),
        generation=before.generation if before is not None else 0,
        is_unread=True,
    )
