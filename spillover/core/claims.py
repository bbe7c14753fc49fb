"""What a Binding carries: the right to bind, and the labels and annotations that say where to."""

from dataclasses import dataclass
from enum import StrEnum

from spillover.api.kubernetes import Taint
from spillover.api.labels import DELETION_COST
from spillover.core.deletion_cost import cost_annotations, cost_in, has_own_cost
from spillover.core.ledger import Flight
from spillover.core.pods import POLICY_ANNOTATION, UNIT_ANNOTATION, Pod
from spillover.core.policy import LoadedPolicy, Policy, Unit
from spillover.core.resources import asks_for_gpu
from spillover.core.verdicts import Passed

ACS = "alibabacloud.com/acs"
COMPUTE_CLASS = "alibabacloud.com/compute-class"
COMPUTE_QOS = "alibabacloud.com/compute-qos"
ACS_LABELS = (ACS, COMPUTE_CLASS, COMPUTE_QOS)
QOS_STRATEGY = "alpha.alibabacloud.com/compute-qos-strategy"
"""An annotation that chooses the QoS in place of the label."""


class Place(StrEnum):
    """Where a pod goes, as its policy sees it: to the first unit, to a later one, to nodes of no
    unit, or under no policy."""

    FIRST = "first"
    SPILLED = "spilled"
    OUTSIDE = "outside"
    UNMANAGED = "unmanaged"


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to bind `pod` to `node` once, with what the Binding carries. `flight` goes back to
    the ledger with the outcome. `tolerate` are taints that would evict the pod at once. `passed`
    is why the pod goes to none of the units before."""

    pod: Pod
    node: str
    flight: Flight
    policy: LoadedPolicy | None
    unit: Unit | None
    labels: dict[str, str]
    annotations: dict[str, str]
    tolerate: tuple[Taint, ...]
    place: Place
    passed: tuple[Passed, ...]


def labels_for(pod: Pod, unit: Unit) -> dict[str, str]:
    """The unit's labels; for an `acs` unit also those that ACS expects, where neither the pod nor
    the unit says otherwise."""
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
    """What the Binding writes. Marks that a user copied from another pod are overwritten."""
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
