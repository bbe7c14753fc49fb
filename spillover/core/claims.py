"""What a Binding carries: the right to bind, and the labels and annotations that say where to."""

from dataclasses import dataclass

from spillover.api.kubernetes import Taint
from spillover.api.labels import DELETION_COST
from spillover.core.ledger import Flight
from spillover.core.pods import POLICY_ANNOTATION, UNIT_ANNOTATION, Pod
from spillover.core.policy import LoadedPolicy, Policy, Unit
from spillover.core.resources import asks_for_gpu

DELETION_COST_STEP = 100

ACS = "alibabacloud.com/acs"
COMPUTE_CLASS = "alibabacloud.com/compute-class"
COMPUTE_QOS = "alibabacloud.com/compute-qos"
ACS_LABELS = (ACS, COMPUTE_CLASS, COMPUTE_QOS)
QOS_STRATEGY = "alpha.alibabacloud.com/compute-qos-strategy"
"""An annotation that chooses the QoS in place of the label."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to bind `pod` to `node` once, with what the Binding carries. `flight` goes back to
    the ledger with the outcome. `tolerate` are taints that would evict the pod at once."""

    pod: Pod
    node: str
    flight: Flight
    policy: str
    unit: str
    labels: dict[str, str]
    annotations: dict[str, str]
    tolerate: tuple[Taint, ...]


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
    cost = {DELETION_COST: str(DELETION_COST_STEP * policy.rank_from_end(unit))}
    annotations = {**cost, **unit.pod_annotations, **marks}
    if DELETION_COST in pod.annotations:
        del annotations[DELETION_COST]
    return annotations
