"""What a pod gets when it is created: its scheduler, and labels that do not depend on its unit.

Admission overwrites nothing that the pod says, so that doing it twice changes nothing. Labels that
differ between the units of the pod's policy come with the binding.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from spillover.api.labels import value_problem
from spillover.core.claims import ACS, COMPUTE_CLASS, COMPUTE_QOS, QOS_STRATEGY
from spillover.core.conventions import SERVERLESS_LABELS
from spillover.core.policy import LoadedPolicy, Policy, Unit
from spillover.core.resources import Requests, asks_for_gpu

REGION = "alibabacloud.com/serverless-region-id"
GPU_MODEL = "alibabacloud.com/gpu-model-series"
_DEFAULTED = (REGION, GPU_MODEL, COMPUTE_CLASS, COMPUTE_QOS)
_UNROUTED = ("", "default-scheduler")


@dataclass(frozen=True, slots=True)
class AdmittedPod:
    """A pod as its user, or a workload controller, wants it."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    scheduler: str
    requests: Requests
    node_selector: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class AdmissionDefaults:
    """The cluster's settings. `serverless_labels` mark pods that ask for serverless capacity;
    `gpu_models` are by the name of a requested resource, or by `key=value` of a node selector."""

    scheduler: str = "spillover-scheduler"
    route: bool = True
    serverless_labels: frozenset[tuple[str, str]] = SERVERLESS_LABELS
    region: str = ""
    gpu_models: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Changes:
    """`scheduler` is None where the pod's own stays."""

    scheduler: str | None
    labels: Mapping[str, str]


def admit(
    pod: AdmittedPod,
    policy: LoadedPolicy | None,
    namespace: Mapping[str, str],
    defaults: AdmissionDefaults,
) -> Changes:
    """`policy` is the oldest that selects the pod; `namespace` are the labels and annotations of
    the pod's namespace."""
    agreed = _agreed(policy)
    labels = {**agreed, **pod.labels}
    if asks_for_serverless(labels, defaults.serverless_labels):
        set_by_units = _keys_of_units(policy)
        for key in _DEFAULTED:
            if key not in labels and key not in set_by_units:
                given = namespace.get(key, "")
                value = given or _default(key, pod, labels, defaults)
                # With what is no label value the API server would refuse the pod.
                if value and value_problem(value) is None:
                    labels[key] = value
    routed = policy is not None or asks_for_serverless(pod.labels, defaults.serverless_labels)
    route = defaults.route and routed and pod.scheduler in _UNROUTED
    return Changes(
        scheduler=defaults.scheduler if route else None,
        labels={key: value for key, value in labels.items() if key not in pod.labels},
    )


def asks_for_serverless(labels: Mapping[str, str], marks: Iterable[tuple[str, str]]) -> bool:
    return any(labels.get(key) == value for key, value in marks)


def json_patch(changes: Changes, *, has_labels: bool) -> list[dict[str, object]]:
    """The operations of RFC 6902. Empty: nothing changes."""
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
    return patch


def _agreed(policy: LoadedPolicy | None) -> dict[str, str]:
    """The labels that every unit gives its pods, with one value."""
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
    """Keys that come, or may come, with the binding."""
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
        return ""  # the others are of ACS alone
    if key == COMPUTE_CLASS:
        return "gpu" if asks_for_gpu(pod.requests) else "general-purpose"
    return "" if QOS_STRATEGY in pod.annotations else "default"


def _gpu_model(pod: AdmittedPod, models: Mapping[str, str]) -> str:
    """By node selector first, which says more than a resource's name."""
    for key, value in sorted(pod.node_selector.items()):
        if model := models.get(f"{key}={value}"):
            return model
    return next((models[name] for name, amount in pod.requests if amount and name in models), "")


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
