"""How this cluster marks its nodes, pods that are to go to serverless capacity, and our pods."""

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
"""By which pods ask for serverless capacity."""


@dataclass(frozen=True, slots=True)
class NodeConventions:
    """Labels are (key, value). A taint whose key is in `provider_taints` keeps pods off a virtual
    node by default; a decision for a virtual unit sees past it, and past no other taint.
    `schedulers` are the names of our scheduler's profiles."""

    virtual_label: tuple[str, str] = ("type", "virtual-kubelet")
    elastic_label: tuple[str, str] = ("goatscaler.io/managed", "true")
    provider_taints: frozenset[str] = DEFAULT_PROVIDER_TAINTS
    serverless_labels: frozenset[tuple[str, str]] = SERVERLESS_LABELS
    schedulers: frozenset[str] = DEFAULT_SCHEDULERS


def label_pair(text: str) -> tuple[str, str]:
    """`key=value` as people write a label. Raises ValueError."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise ValueError(f"{text!r} is not of the form key=value")
    return key, value
