"""The ResourcePolicy of Alibaba Cloud ACK: scheduling.alibabacloud.com/v1alpha1."""

from pydantic import Field

from spillover.api.resourcepolicy import PolicySpec, ResourcePolicyObject, Wire

GROUP = "scheduling.alibabacloud.com"
VERSION = "v1alpha1"


class WhenTryNextUnits(Wire):
    policy: str | None = Field(
        None,
        description="When to go on to the next unit: ExceedMax, LackResourceOrExceedMax (default), "
        "LackResourceAndNoTerminating or TimeoutOrExceedMax.",
    )
    timeout: str | None = Field(
        None,
        description="How long TimeoutOrExceedMax waits in a unit, as a duration such as 30s or "
        "15m. Default 15m.",
    )


class Unit(Wire):
    resource: str | None = Field(
        None,
        description="Kind of capacity: ecs (nodes that are not virtual), elastic (those of them "
        "that an autoscaler manages), eci or acs (virtual nodes).",
    )
    node_selector: dict[str, str] | None = Field(
        None, description="Only nodes with all these labels belong to the unit."
    )
    max: int | None = Field(
        None, description="Maximum number of pods in the unit, 0 or more. Absent: no limit."
    )
    max_resources: dict[str, int | str] | None = Field(
        None, description="Maximum sum of the requests of the unit's pods, such as cpu: 8."
    )
    pod_labels: dict[str, str] | None = Field(
        None, description="Labels that a pod gets when it is bound to this unit."
    )
    pod_annotations: dict[str, str] | None = Field(
        None, description="Annotations that a pod gets when it is bound to this unit."
    )


class Spec(PolicySpec):
    strategy: str | None = Field(
        None, description="How units are used. Only prefer (default): in the order given."
    )
    units: list[Unit] | None = Field(
        None, description="The capacity units, in the order in which pods fill them."
    )
    ignore_previous_pod: bool | None = Field(
        None,
        description="Whether pods bound before the policy was created do not count. Default false.",
    )
    ignore_terminating_pod: bool | None = Field(
        None, description="Whether pods that are being deleted do not count. Default true."
    )
    match_label_keys: list[str] | None = Field(
        None, description="Keys of pod labels. Pods are counted separately for each set of values."
    )
    when_try_next_units: WhenTryNextUnits | None = Field(
        None, description="When a pod goes on to the next unit."
    )
    preempt_policy: str | None = Field(
        None,
        description="When pods of lower priority may be preempted: AfterAllUnits (default), when "
        "every unit has failed, or BeforeNextUnit, in each unit before the next is tried.",
    )


class ResourcePolicy(ResourcePolicyObject[Spec]):
    """An object of scheduling.alibabacloud.com/v1alpha1."""
