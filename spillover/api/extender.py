"""The scheduler extender protocol, v1. Source: k8s.io/kube-scheduler/extender/v1.

Go defines these structs without JSON tags, so the field names start with capital letters.
"""

from msgspec import Raw, Struct, field

from spillover.api.kubernetes import PodObject


class FilterArgs(Struct, frozen=True, rename="pascal"):
    """A filter request: which of `node_names` may `pod` use? Needs `nodeCacheCapable: true`."""

    pod: PodObject
    node_names: list[str]


class FilterResult(Struct, frozen=True, rename="pascal", omit_defaults=True):
    """The answer to a filter request."""

    node_names: Raw | None = None
    """A JSON array: a subset of the requested nodes."""
    failed_and_unresolvable_nodes: Raw | None = None
    """A JSON object: the reason for each node, by its name."""
    error: str = ""
    """A scheduler error: the scheduler retries the pod and does not count it as unschedulable."""


class MetaPod(Struct, frozen=True):
    """A pod that would be evicted."""

    uid: str = field(name="UID")
    """Go writes the field name in capitals."""


class MetaVictims(Struct, frozen=True):
    """The pods that would be evicted on a node. The answer repeats all fields unchanged."""

    pods: list[MetaPod] | None = field(default=None, name="Pods")
    num_pdb_violations: int = field(default=0, name="NumPDBViolations")


class PreemptArgs(Struct, frozen=True, rename="pascal"):
    """A preempt request: the candidate nodes, each with its victims. The scheduler sends
    `node_name_to_victims`, with whole pods, only without nodeCacheCapable. Spillover does not read
    that field."""

    pod: PodObject
    node_name_to_meta_victims: dict[str, MetaVictims | None] | None = None


class PreemptResult(Struct, frozen=True, rename="pascal"):
    """The candidates on which preemption helps the pod. The protocol has no field for an error."""

    node_name_to_meta_victims: dict[str, MetaVictims] = {}


class BindArgs(Struct, frozen=True, rename="pascal"):
    """The pod to bind and the node that kube-scheduler chose."""

    pod_name: str
    pod_namespace: str
    pod_uid: str = field(name="PodUID")
    node: str


class BindResult(Struct, frozen=True, rename="pascal", omit_defaults=True):
    """Empty means bound."""

    error: str = ""
