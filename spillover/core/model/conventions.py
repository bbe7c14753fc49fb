"""How this cluster marks its nodes, pods that ask for serverless capacity, and Spillover's pods."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

DEFAULT_PROVIDER_TAINTS = frozenset(
    {
        "virtual-kubelet.io/provider",
        "virtual-kubelet.io/compute-type",
        "vci.vke.volcengine.com/node-type",
    }
)


DEFAULT_SCHEDULERS = frozenset({"spillover-scheduler", "ack-co-scheduler"})

SERVERLESS_LABELS = frozenset({("alibabacloud.com/acs", "true"), ("alibabacloud.com/eci", "true")})
"""Labels with which a pod asks for serverless capacity, as (key, value)."""

REGION = "alibabacloud.com/serverless-region-id"
"""The label with which a pod that asks for serverless capacity names its region."""

AUTOSCALER_LABELS = frozenset(
    {
        "goatscaler.io/managed",
        "karpenter.sh/nodepool",
        "karpenter.sh/capacity-type",
        "alibabacloud.com/nodepool-id",
        "eks.amazonaws.com/nodegroup",
        "alpha.eksctl.io/nodegroup-name",
        "cloud.google.com/gke-nodepool",
        "kubernetes.azure.com/agentpool",
        "tke.cloud.tencent.com/nodepool-id",
        "cluster.vke.volcengine.com/machinepool-name",
    }
)
"""Keys of labels of nodes that an autoscaler may add: goatscaler's and Karpenter's, and those of
the node groups of clouds, which cluster-autoscaler scales. Nodes that only cluster-autoscaler knows
have no label of their own."""


@dataclass(frozen=True, slots=True)
class NodeConventions:
    """The cluster's labels, taints and scheduler names. Labels are (key, value)."""

    virtual_label: tuple[str, str] = ("type", "virtual-kubelet")
    """The label of virtual nodes."""
    elastic_label: tuple[str, str] = ("goatscaler.io/managed", "true")
    """The label of nodes that an autoscaler manages."""
    provider_taints: frozenset[str] = DEFAULT_PROVIDER_TAINTS
    """Keys of the taints that keep pods off a virtual node by default. A decision for a virtual
    unit ignores these taints, and no others."""
    serverless_labels: frozenset[tuple[str, str]] = SERVERLESS_LABELS
    """Labels with which a pod asks for serverless capacity."""
    serverless_namespaces: tuple[str, str] | None = None
    """The label of namespaces whose pods may ask for serverless capacity with their own labels.
    None: the pods of every namespace may."""
    schedulers: frozenset[str] = DEFAULT_SCHEDULERS
    """Names of the profiles of Spillover's scheduler."""


def asks_for_serverless(labels: Mapping[str, str], marks: Iterable[tuple[str, str]]) -> bool:
    """Whether a pod with these labels asks for serverless capacity."""
    return any(labels.get(key) == value for key, value in marks)


def label_pair(text: str) -> tuple[str, str]:
    """Parses a label in the form `key=value`. Raises ValueError."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise ValueError(f"{text!r} is not of the form key=value")
    return key, value


def optional_label_pair(text: str) -> tuple[str, str] | None:
    """As `label_pair`, but None for an empty text. Raises ValueError."""
    return label_pair(text) if text else None
