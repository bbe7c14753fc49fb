"""How the API server names the objects that Spillover writes, and writes Events about."""

from spillover.api import ack, vke
from spillover.core.model.pods import Pod
from spillover.core.model.policy import LoadedPolicy, PolicyKey
from spillover.kube.events import Regarding

_VERSIONS = {ack.GROUP: ack.VERSION, vke.GROUP: vke.VERSION}
_DIALECTS = {ack.GROUP: "ack", vke.GROUP: "vke"}


def api_version(policy: PolicyKey) -> str:
    """The API version of the policy, such as scheduling.alibabacloud.com/v1alpha1."""
    return f"{policy.group}/{_VERSIONS[policy.group]}"


def path_of(policy: PolicyKey) -> str:
    """The path of the policy's object in the API."""
    return (
        f"/apis/{api_version(policy)}/namespaces/{policy.namespace}/resourcepolicies/{policy.name}"
    )


def dialect_of(policy: PolicyKey) -> str:
    """`ack` or `vke`. Dialect, namespace and name together identify a policy."""
    return _DIALECTS[policy.group]


def of_policy(policy: LoadedPolicy) -> Regarding:
    key = policy.key
    return Regarding(api_version(key), "ResourcePolicy", key.namespace, key.name, policy.uid)


def of_pod(pod: Pod) -> Regarding:
    return Regarding("v1", "Pod", pod.namespace, pod.name, pod.uid)
