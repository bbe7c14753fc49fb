"""What admission adds to a new pod: its scheduler, and labels that do not depend on its unit.

Admission does not overwrite what the pod specifies, so a second admission changes nothing. Labels
that differ between the units of the pod's policy come with the Binding.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from spillover.api.labels import value_problem
from spillover.core.cache.binding_plan import ACS, COMPUTE_CLASS, COMPUTE_QOS, QOS_STRATEGY
from spillover.core.model.conventions import (
    DEFAULT_SCHEDULERS,
    REGION,
    SERVERLESS_LABELS,
    asks_for_serverless,
)
from spillover.core.model.pods import CROWD_GATE
from spillover.core.model.policy import LoadedPolicy, Policy, Unit
from spillover.core.model.resources import Requests, asks_for_gpu

GPU_MODEL = "alibabacloud.com/gpu-model-series"
_DEFAULTED = (REGION, GPU_MODEL, COMPUTE_CLASS, COMPUTE_QOS)
_UNROUTED = ("", "default-scheduler")


@dataclass(frozen=True, slots=True)
class AdmittedPod:
    """A new pod as its user or a workload controller wrote it."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    scheduler: str
    requests: Requests
    node_selector: Mapping[str, str]
    node: str = ""
    """The node that the pod is created on, or "" for a pod that a scheduler must place."""
    has_given_node: bool = False
    """A DaemonSet or a kubelet makes the pod for one node."""
    gates: Sequence[str] = ()
    """Names of the pod's scheduling gates."""


@dataclass(frozen=True, slots=True)
class NamespaceMarks:
    """Labels and annotations of a namespace. They hold the defaults of the namespace. A label takes
    precedence over an annotation."""

    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AdmissionDefaults:
    """The cluster's settings for admission."""

    scheduler: str = "spillover-scheduler"
    """Name of the scheduler that pods get."""
    schedulers: frozenset[str] = DEFAULT_SCHEDULERS
    """Names of all schedulers that call the extender."""
    route: bool = True
    serverless_labels: frozenset[tuple[str, str]] = SERVERLESS_LABELS
    """Labels with which a pod asks for serverless capacity."""
    serverless_namespaces: tuple[str, str] | None = None
    """The label of namespaces whose pods may ask for serverless capacity. None: the pods of every
    namespace may."""
    region: str = ""
    gpu_models: Mapping[str, str] = field(default_factory=dict)
    """GPU models, by the name of a requested resource or by `key=value` of a node selector."""


@dataclass(frozen=True, slots=True)
class PodChanges:
    """What admission changes in a pod."""

    scheduler: str | None
    """None: the pod keeps its scheduler."""
    labels: Mapping[str, str]
    gate: bool = False
    """The pod gets the scheduling gate `CROWD_GATE`."""


def admit(
    pod: AdmittedPod,
    policy: LoadedPolicy | None,
    namespace: NamespaceMarks,
    defaults: AdmissionDefaults,
    *,
    is_crowded: bool = False,
) -> PodChanges:
    """The changes of a new pod. `policy` is the oldest policy that selects the pod. `is_crowded`:
    many pods of its namespace wait (see `spillover.core.cache.crowds`)."""
    if pod.has_given_node:
        return PodChanges(scheduler=None, labels={})
    may_ask = _may_ask(namespace, defaults)
    labels = {**_agreed(policy), **pod.labels}
    asks = asks_for_serverless(labels, defaults.serverless_labels)
    if asks and (may_ask or policy is not None):
        set_by_units = _keys_of_units(policy)
        for key in _DEFAULTED:
            if key not in labels and key not in set_by_units:
                given = namespace.labels.get(key) or namespace.annotations.get(key, "")
                value = given or _default(key, pod, labels, defaults)
                # The API server would refuse a pod with an invalid label value.
                if value and value_problem(value) is None:
                    labels[key] = value
    routed = policy is not None or (
        may_ask and asks_for_serverless(pod.labels, defaults.serverless_labels)
    )
    route = defaults.route and routed and pod.scheduler in _UNROUTED
    scheduler = defaults.scheduler if route else pod.scheduler
    # The API server refuses a pod that has both a scheduling gate and a node.
    can_be_gated = not pod.node and CROWD_GATE not in pod.gates
    return PodChanges(
        scheduler=scheduler if route else None,
        labels={key: value for key, value in labels.items() if key not in pod.labels},
        gate=is_crowded
        and can_be_gated
        and policy is not None
        and scheduler in defaults.schedulers,
    )


def _may_ask(namespace: NamespaceMarks, defaults: AdmissionDefaults) -> bool:
    wanted = defaults.serverless_namespaces
    return wanted is None or namespace.labels.get(wanted[0]) == wanted[1]


def asked_by_namespace(
    pod: AdmittedPod, namespace: NamespaceMarks, defaults: AdmissionDefaults
) -> dict[str, str]:
    """The labels with which the namespace asks for serverless capacity for a pod that no policy
    selects. Empty if the pod has a value for one of these labels itself, has a node, or has a
    scheduler that is not ours."""
    decided = pod.node or pod.has_given_node or not _may_ask(namespace, defaults)
    is_placed_here = pod.scheduler in _UNROUTED or pod.scheduler in defaults.schedulers
    says_itself = any(key in pod.labels for key, _ in defaults.serverless_labels)
    if decided or says_itself or not is_placed_here:
        return {}
    return {
        key: value
        for key, value in namespace.labels.items()
        if (key, value) in defaults.serverless_labels
    }


def json_patch(
    changes: PodChanges, *, has_labels: bool, has_gates: bool = False
) -> list[dict[str, object]]:
    """The changes as operations of JSON Patch (RFC 6902). Empty: nothing changes."""
    patch: list[dict[str, object]] = []
    if changes.scheduler is not None:
        patch.append({"op": "add", "path": "/spec/schedulerName", "value": changes.scheduler})
    if changes.labels and not has_labels:
        patch.append({"op": "add", "path": "/metadata/labels", "value": dict(changes.labels)})
    elif changes.labels:
        patch += [
            {"op": "add", "path": f"/metadata/labels/{_escaped(key)}", "value": value}
            for key, value in sorted(changes.labels.items())
        ]
    if changes.gate:
        gate = {"name": CROWD_GATE}
        path = "/spec/schedulingGates"
        patch.append(
            {"op": "add", "path": f"{path}/-", "value": gate}
            if has_gates
            else {"op": "add", "path": path, "value": [gate]}
        )
    return patch


def _agreed(policy: LoadedPolicy | None) -> dict[str, str]:
    """The labels that every unit gives its pods with the same value."""
    if not isinstance(policy, Policy):
        return {}
    first, *others = (_labels_of(unit) for unit in policy.units)
    return {
        key: value
        for key, value in first.items()
        if all(labels.get(key) == value for labels in others)
    }


def _labels_of(unit: Unit) -> dict[str, str]:
    return {ACS: "true", **unit.pod_labels} if unit.defaults_of_acs else dict(unit.pod_labels)


def _keys_of_units(policy: LoadedPolicy | None) -> set[str]:
    """Label keys that come, or may come, with the Binding."""
    if not isinstance(policy, Policy):
        return set()
    keys = {key for unit in policy.units for key in unit.pod_labels}
    if any(unit.defaults_of_acs for unit in policy.units):
        keys |= {COMPUTE_CLASS, COMPUTE_QOS}
    return keys


def _default(
    key: str, pod: AdmittedPod, labels: Mapping[str, str], defaults: AdmissionDefaults
) -> str:
    if key == REGION:
        return defaults.region
    if key == GPU_MODEL:
        return _gpu_model(pod, defaults.gpu_models)
    if labels.get(ACS) != "true":
        return ""  # the remaining keys are for ACS pods only
    if key == COMPUTE_CLASS:
        return "gpu" if asks_for_gpu(pod.requests) else "general-purpose"
    return "" if QOS_STRATEGY in pod.annotations else "default"


def _gpu_model(pod: AdmittedPod, models: Mapping[str, str]) -> str:
    """The pod's GPU model, or "". The node selector comes first, because it says more than the name
    of a resource."""
    for key, value in sorted(pod.node_selector.items()):
        if model := models.get(f"{key}={value}"):
            return model
    return next((models[name] for name, amount in pod.requests if amount and name in models), "")


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
