"""The scheduler extender protocol, v1. Source: k8s.io/kube-scheduler/extender/v1.

Go writes these structs without JSON tags, hence the capital letters.
"""

from msgspec import Struct, field

from spillover.api.kubernetes import PodObject


class FilterArgs(Struct, frozen=True, rename="pascal"):
    """What kube-scheduler asks: where of `node_names` may `pod` go? (`nodeCacheCapable: true`)"""

    pod: PodObject
    node_names: list[str]


class FilterResult(Struct, frozen=True, rename="pascal", omit_defaults=True):
    """`node_names` is a subset of those asked. An `error` is a scheduler error: the pod is retried
    and not counted as unschedulable. Reasons go into `failed_and_unresolvable_nodes`."""

    node_names: list[str] | None = None
    failed_and_unresolvable_nodes: dict[str, str] = {}
    error: str = ""


class MetaPod(Struct, frozen=True):
    """A pod to be evicted. Go writes the field in capitals."""

    uid: str = field(name="UID")


class MetaVictims(Struct, frozen=True):
    """The pods that would be evicted on a node. Everything is answered as it came."""

    pods: list[MetaPod] | None = field(default=None, name="Pods")
    num_pdb_violations: int = field(default=0, name="NumPDBViolations")


class PreemptArgs(Struct, frozen=True, rename="pascal"):
    """Candidate nodes, each with its victims. `node_name_to_victims`, with whole pods, is only sent
    without nodeCacheCapable, and not read."""

    pod: PodObject
    node_name_to_meta_victims: dict[str, MetaVictims | None] | None = None


class PreemptResult(Struct, frozen=True, rename="pascal"):
    """Those of the candidates that are of use. There is no field for an error."""

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
