"""A permitted binding, and the labels and annotations that its Binding object writes to the pod."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from spillover.api.kubernetes import Taint
from spillover.api.labels import DELETION_COST
from spillover.core.cache.deletion_cost import cost_annotations, cost_at, cost_in, has_own_cost
from spillover.core.cache.kept_labels import kept_keys
from spillover.core.cache.ledger import InFlightBinding
from spillover.core.cache.slot_numbers import SlotNumbers
from spillover.core.decision.fill_order import place_in
from spillover.core.decision.outcomes import Passed
from spillover.core.model.pods import POLICY_ANNOTATION, UNIT_ANNOTATION, Pod
from spillover.core.model.policy import LoadedPolicy, Policy, Unit
from spillover.core.model.resources import Requests, asks_for_gpu
from spillover.core.model.workloads import Workloads

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
    kept: frozenset[str] = frozenset()
    """Keys of the unit's labels that are not written, because the pod's controller selects by
    them."""


def labels_for(pod: Pod, unit: Unit, workloads: Workloads) -> tuple[dict[str, str], frozenset[str]]:
    """The labels to write, and the keys of those that the pod keeps as they are."""
    labels = labels_of(pod.labels, pod.annotations, pod.requests, unit)
    kept = kept_keys(pod, labels, workloads)
    return {key: value for key, value in labels.items() if key not in kept}, kept


def labels_of(
    labels_now: Mapping[str, str], annotations: Collection[str], requests: Requests, unit: Unit
) -> dict[str, str]:
    """The unit's labels for a pod. For an `acs` unit also the labels that ACS expects, unless the
    pod or the unit sets them. `annotations` are the keys of the pod's annotations."""
    labels = dict(unit.pod_labels)
    if not unit.defaults_of_acs:
        return labels
    defaults = {
        ACS: "true",
        COMPUTE_CLASS: "gpu" if asks_for_gpu(requests) else "general-purpose",
    }
    if not any(QOS_STRATEGY in given for given in (unit.pod_annotations, annotations)):
        defaults[COMPUTE_QOS] = "default"
    missing = {key: value for key, value in defaults.items() if key not in labels_now}
    return {**missing, **labels}


def annotations_for(
    pod: Pod, policy: LoadedPolicy | None, unit: Unit | None, slots: SlotNumbers
) -> dict[str, str]:
    """The annotations that the Binding writes. They overwrite marks that a user has copied from
    another pod. Under a policy with a ratio, the pod takes a number from `slots`."""
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
        if policy.has_ratio:
            number = slots.take(policy.key, unit.identity, pod.uid)
            cost = cost_at(place_in(policy, unit, number))
        else:
            cost = cost_in(policy, unit)
        annotations |= cost_annotations(cost)
    return annotations
