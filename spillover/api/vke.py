"""The ResourcePolicy of Volcengine VKE: scheduling.vke.volcengine.com/v1beta1."""

from pydantic import Field

from spillover.api.resourcepolicy import PolicySpec, ResourcePolicyObject, Wire

GROUP = "scheduling.vke.volcengine.com"
VERSION = "v1beta1"


class NodeSelectorTerm(Wire):
    key: str | None = Field(None, description="Key of a node label.")
    operator: str | None = Field(
        None, description="In, NotIn, Exists, DoesNotExist, Gt or Lt, as in a node affinity."
    )
    values: list[str] | None = Field(
        None,
        description="One or more for In and NotIn, none for Exists and DoesNotExist, exactly one "
        "integer for Gt and Lt.",
    )


class Subset(Wire):
    name: str | None = Field(None, description="Name of the subset, unique within the policy.")
    type: str | None = Field(
        None,
        description="Kind of capacity: ecs (nodes that are not virtual) or vci (virtual nodes).",
    )
    max_replicas: int | None = Field(
        None, description="Maximum number of pods in the subset, 0 or more. Absent: no limit."
    )
    max_replicas_ratio: str | None = Field(
        None,
        description="Maximum number of pods as a part of the owners' desired replicas, such as "
        '"0.1", rounded down. With maxReplicas too, the smaller of the two holds.',
    )
    when_not_reach_max: str | None = Field(
        None,
        description="What to do when the subset has room but no node: ScheduleAnyWay (default) "
        "goes on to the next subset, DoNotSchedule waits.",
    )
    node_selector_term: list[NodeSelectorTerm] | None = Field(
        None, description="Only nodes for which every term holds belong to the subset."
    )


class Spec(PolicySpec):
    strategy: str | None = Field(
        None,
        description="What follows when every subset is exhausted: prefer (default) uses nodes of "
        "no subset, require leaves the pod Pending.",
    )
    subsets: list[Subset] | None = Field(
        None, description="The capacity units, in the order in which pods fill them."
    )


class ResourcePolicy(ResourcePolicyObject[Spec]):
    """An object of scheduling.vke.volcengine.com/v1beta1."""
