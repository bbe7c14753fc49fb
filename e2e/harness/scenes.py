"""Objects that tests make clusters' contents of."""

from typing import Any

Object = dict[str, Any]

GPU = "nvidia.com/gpu"
PROVIDER_TAINT = {
    "key": "virtual-kubelet.io/provider",
    "value": "alibabacloud",
    "effect": "NoSchedule",
}
ACK = "scheduling.alibabacloud.com"
VKE = "scheduling.vke.volcengine.com"
_VERSIONS = {ACK: "v1alpha1", VKE: "v1beta1"}


def node(
    name: str,
    *,
    gpus: int = 1,
    labels: dict[str, str] | None = None,
    taints: list[dict[str, str]] | None = None,
    unschedulable: bool = False,
    managed: bool = True,
) -> Object:
    """A node. kwok makes it Ready if `managed`; otherwise it stays not ready."""
    capacity = {"cpu": "512", "memory": "2Ti", "pods": "1000", GPU: str(gpus)}
    metadata: Object = {"name": name, "labels": labels or {}}
    status: Object = {"capacity": capacity, "allocatable": capacity}
    if managed:
        metadata["annotations"] = {"kwok.x-k8s.io/node": "fake"}
    else:
        status["conditions"] = [{"type": "Ready", "status": "False", "reason": "KubeletNotReady"}]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": metadata,
        "spec": {"taints": taints or [], "unschedulable": unschedulable},
        "status": status,
    }


def virtual_node(
    name: str,
    *,
    gpus: int = 100,
    taints: list[dict[str, str]] | None = None,
    unschedulable: bool = False,
    managed: bool = True,
) -> Object:
    """A virtual node, with the label and the taint that providers give it."""
    return node(
        name,
        gpus=gpus,
        labels={"type": "virtual-kubelet"},
        taints=taints or [PROVIDER_TAINT],
        unschedulable=unschedulable,
        managed=managed,
    )


def pod_spec(scheduler: str, *, gpus: int = 1, **spec: object) -> Object:
    container: Object = {"name": "model", "image": "registry.k8s.io/pause:3.10"}
    if gpus:
        container["resources"] = {"limits": {GPU: str(gpus)}}
    return {
        "schedulerName": scheduler,
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
        **spec,
    }


def pod(
    namespace: str,
    name: str,
    scheduler: str,
    *,
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    gpus: int = 1,
    **spec: object,
) -> Object:
    metadata = {"name": name, "namespace": namespace, "labels": labels or {}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**metadata, "annotations": annotations or {}},
        "spec": pod_spec(scheduler, gpus=gpus, **spec),
    }


def deployment(
    namespace: str, name: str, scheduler: str, *, replicas: int = 0, gpus: int = 1, **spec: object
) -> Object:
    """Its pods carry the label `app` with its name."""
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": pod_spec(scheduler, gpus=gpus, **spec),
            },
        },
    }


def policy(group: str, namespace: str, name: str, **spec: object) -> Object:
    return {
        "apiVersion": f"{group}/{_VERSIONS[group]}",
        "kind": "ResourcePolicy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def three_tiers(group: str, namespace: str, app: str, *, virtual_max: int = 2) -> Object:
    """Prepaid nodes, then virtual ones up to a maximum, then pay-as-you-go nodes."""
    if group == ACK:
        return policy(
            ACK,
            namespace,
            app,
            selector={"app": app},
            strategy="prefer",
            units=[
                {"resource": "ecs", "nodeSelector": {"pool": "prepaid"}},
                {
                    "resource": "eci",
                    "max": virtual_max,
                    "podLabels": {"alibabacloud.com/eci": "true"},
                    "podAnnotations": {"k8s.aliyun.com/eci-use-specs": "ecs.gn7i-c8g1.2xlarge"},
                },
                {"resource": "ecs", "nodeSelector": {"pool": "postpaid"}},
            ],
        )
    return policy(
        VKE,
        namespace,
        app,
        selector={"app": app},
        strategy="require",
        subsets=[
            {
                "name": "prepaid",
                "type": "ecs",
                "nodeSelectorTerm": [{"key": "pool", "operator": "In", "values": ["prepaid"]}],
            },
            {"name": "eci", "type": "vci", "maxReplicas": virtual_max},
            {
                "name": "postpaid",
                "type": "ecs",
                "nodeSelectorTerm": [{"key": "pool", "operator": "NotIn", "values": ["prepaid"]}],
            },
        ],
    )


def three_tier_nodes(*, prepaid: int = 2, postpaid: int = 2) -> list[Object]:
    return [
        *(node(f"prepaid-{n}", labels={"pool": "prepaid"}) for n in range(prepaid)),
        virtual_node("virtual-0"),
        *(node(f"postpaid-{n}", labels={"pool": "postpaid"}) for n in range(postpaid)),
    ]
