"""A permitted binding, and the labels and annotations that its Binding object writes to the pod."""

from dataclasses import dataclass
from enum import StrEnum

from spillover.api.kubernetes import Taint
from spillover.api.labels import DELETION_COST
from spillover.core.cache.deletion_cost import cost_annotations, cost_in, has_own_cost
from spillover.core.cache.ledger import InFlightBinding
from spillover.core.decision.outcomes import Passed
from spillover.core.model.pods import POLICY_ANNOTATION, UNIT_ANNOTATION, Pod
from spillover.core.model.policy import LoadedPolicy, Policy, Unit
from spillover.core.model.resources import asks_for_gpu

ACS = "alibabacloud.com/acs"
COMPUTE_CLASS = "alibabacloud.com/compute-class"
COMPUTE_QOS = "alibabacloud.com/compute-qos"
ACS_LABELS = (ACS, COMPUTE_CLASS, COMPUTE_QOS)
QOS_STRATEGY = "alpha.alibabacloud.com/compute-qos-strategy"
"""An annotation that sets the QoS instead of the label."""


class Place(StrEnum):
    """Where a pod goes, from the view of its policy."""

    FIRST = "first"
    """To the first unit."""
    SPILLED = "spilled"
    """To a later unit."""
    OUTSIDE = "outside"
    """To nodes of no unit."""
    UNMANAGED = "unmanaged"
    """The pod is under no valid policy."""


@dataclass(frozen=True, slots=True)
class BindingPlan:
    """The right to bind `pod` to `node` once, and what the Binding writes."""

    pod: Pod
    node: str
    flight: InFlightBinding
    """The caller returns this object to the ledger with the outcome."""
    policy: LoadedPolicy | None
    unit: Unit | None
    labels: dict[str, str]
    annotations: dict[str, str]
    tolerate: tuple[Taint, ...]
    """Taints that would evict the pod at once."""
    place: Place
    passed: tuple[Passed, ...]
    """Why the pod goes to none of the earlier units."""


def labels_for(pod: Pod, unit: Unit) -> dict[str, str]:
    """The unit's labels. For an `acs` unit also the labels that ACS expects, unless the pod or the
    unit sets them."""
    labels = dict(unit.pod_labels)
    if not unit.defaults_of_acs:
        return labels
    defaults = {
        ACS: "true",
        COMPUTE_CLASS: "gpu" if asks_for_gpu(pod.requests) else "general-purpose",
    }
    if not any(QOS_STRATEGY in given for given in (unit.pod_annotations, pod.annotations)):
        defaults[COMPUTE_QOS] = "default"
    missing = {key: value for key, value in defaults.items() if key not in pod.labels}
    return {**missing, **labels}


def annotations_for(pod: Pod, policy: LoadedPolicy | None, unit: Unit | None) -> dict[str, str]:
    """The annotations that the Binding writes. They overwrite marks that a user has copied from
    another pod."""
    marks = {
        POLICY_ANNOTATION: str(policy.key) if policy else "",
        UNIT_ANNOTATION: unit.identity if unit else "",
    }
    if not isinstance(policy, Policy):
        return {key: value for key, value in marks.items() if key in pod.annotations}
    if unit is None:
        return marks
    annotations = {**unit.pod_annotations, **marks}
    if has_own_cost(pod.annotations):
        annotations.pop(DELETION_COST, None)
    elif DELETION_COST not in annotations and not policy.key.is_implicit:
        annotations |= cost_annotations(cost_in(policy, unit))
    return annotations
