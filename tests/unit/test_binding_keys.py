"""Which keys a policy may write, by the ConfigMap as it is shipped and as it is edited."""

import pytest
import yaml

from builders import ack_policy
from harness.places import MANIFESTS
from spillover.api.partial import identity
from spillover.core.admission.binding_keys import CONFIG_MAP, BindingKeys
from spillover.core.model.policy import InvalidPolicy, LoadedPolicy, Policy
from spillover.kube.binding_keys import PolicyJudge
from spillover.kube.reading import Unreadable

SHIPPED = next(
    each["data"]
    for each in yaml.safe_load_all((MANIFESTS / "binding-keys.yaml").read_text())
    if each["kind"] == "ConfigMap"
)
GRANTS = [
    "k8s.aliyun.com/eci-ram-role-name",
    "k8s.v1.cni.cncf.io/networks",
    "iam.amazonaws.com/role",
    "aadpodidbinding",
    "container.apparmor.security.beta.kubernetes.io/c",
    "sidecar.istio.io/inject",
    "istio.io/rev",
    "pod-template-hash",
    "k8s.aliyun.com/eci-security-group",
    "k8s.aliyun.com/eci-with-eip",
    "vke.volcengine.com/security-group-ids",
    "network.alibabacloud.com/pod-with-eip",
    "seccomp-profile.kubernetes.cri-o.io/x",
    "io.kubernetes.cri-o.Devices",
    "devices.nri.io",
    "nvidia.cdi.k8s.io/container.X",
    "k8s.aliyun.com/eci-host-sysctls",
    "k8s.volcengine.com/pod-networks",
    "vci.vke.volcengine.com/config-bidirectional-mount-propagation",
    "kubernetes.io/config.mirror",
    "k8s.aliyun.com/ENI",
    "k8s.ovn.org/routing-namespaces",
    "net1.ns.ovn.kubernetes.io/ip_address",
    "vault.hashicorp.com/role",
    "k8s.aliyun.com/plain-http-registry",
    "eks.amazonaws.com/role-arn",
    "scheduling.koordinator.sh/device-allocated",
    "alibabacloud.com/enable-network-policy-agent",
    "v1.multus-cni.io/default-network",
    "cni.projectcalico.org/ipAddrs",
    "io.katacontainers.config.hypervisor.x",
    "run.oci.hooks",
    "config.linkerd.io/skip-inbound-ports",
    "scheduling.volcano.sh/queue-name",
    "kueue.x-k8s.io/queue-name",
    "statefulset.kubernetes.io/pod-name",
    "eks.tke.cloud.tencent.com/role-name",
]
CAPACITY = [
    "key1",
    "tier",
    "team",
    "queue",
    "app",
    "scheduler",
    "example.com/a",
    "app.kubernetes.io/name",
    "alibabacloud.com/eci",
    "alibabacloud.com/acs",
    "alibabacloud.com/compute-class",
    "alibabacloud.com/compute-qos",
    "k8s.aliyun.com/eci-use-specs",
    "k8s.aliyun.com/eci-spot-strategy",
    "k8s.aliyun.com/eci-spot-price-limit",
    "alibabacloud.com/gpu-model-series",
    "alibabacloud.com/serverless-region-id",
    "vke.volcengine.com/burst-to-vci",
    "vci.vke.volcengine.com/preferred-instance-types",
    "vci.vke.volcengine.com/kube-proxy-enabled",
    "k8s.aliyun.com/eci-image-cache",
    "k8s.aliyun.com/eci-instance-family",
    "k8s.aliyun.com/eci-reschedule-enable",
    "crio.example.com/x",
    "k8s.aliyun.com/eci-extra-ephemeral-storage",
    "k8s.aliyun.com/eci-gpu-driver-version",
    "alpha.alibabacloud.com/compute-qos-strategy",
    "cluster-autoscaler.kubernetes.io/safe-to-evict",
    "controller.kubernetes.io/pod-deletion-cost",
    "spillover.dev/unit",
]


@pytest.mark.parametrize("key", GRANTS)
def test_what_grants_something_is_refused(key: str) -> None:
    assert CONFIG_MAP in (BindingKeys.read(SHIPPED).problem(key) or "")


@pytest.mark.parametrize("key", CAPACITY)
def test_capacity_and_users_own_keys_pass(key: str) -> None:
    assert BindingKeys.read(SHIPPED).problem(key) is None


def test_strict_mode_passes_only_what_is_listed() -> None:
    keys = BindingKeys.read({**SHIPPED, "allowed": "# ours\n^tier$\n\n^example\\.com/\n"})
    assert keys.problem("tier") is None
    assert keys.problem("example.com/a") is None
    assert keys.problem("spillover.dev/unit") is None
    assert "allows" in (keys.problem("key1") or "")
    assert "refuses" in (keys.problem("istio.io/rev") or "")


def test_a_policy_is_invalid_with_the_fields_path() -> None:
    policy = ack_policy(
        {"resource": "ecs", "podLabels": {"tier": "a"}},
        {"resource": "eci", "podAnnotations": {"k8s.aliyun.com/eci-ram-role-name": "admin"}},
    )
    judged = BindingKeys.read(SHIPPED).judged(policy)
    assert isinstance(judged, InvalidPolicy)
    assert [error.path for error in judged.errors] == [
        "spec.units[1].podAnnotations[k8s.aliyun.com/eci-ram-role-name]"
    ]
    assert BindingKeys.read({}).judged(policy) == policy


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"refused": "a\n("}, "data.refused, line 2: not a regular expression"),
        ({"allowed": "*"}, "data.allowed, line 1: only letters"),
        ({"allowed": "([a-z]+)+/role"}, "data.allowed, line 1: only letters"),
        ({"refused": "(?i)a"}, "data.refused, line 1: only letters"),
        ({"refused": "a.*b.*c.*d"}, "data.refused, line 1: only letters"),
        ({"refused": "a\r"}, "data.refused, line 1: only letters"),
        ({"refused": "a b"}, "data.refused, line 1: only letters"),
    ],
)
def test_a_bad_pattern_names_its_line(data: dict[str, str], words: str) -> None:
    """Python and RE2 understand what is left alike, and no key takes long."""
    with pytest.raises(ValueError, match=words):
        BindingKeys.read(data)


def test_a_policy_full_of_such_keys_tells_twenty() -> None:
    labels = {f"istio.io/k{number}": "x" for number in range(60)}
    policy = ack_policy(*[{"resource": "ecs", "podLabels": labels}] * 50)
    judged = BindingKeys.read(SHIPPED).judged(policy)
    assert isinstance(judged, InvalidPolicy)
    assert len(judged.errors) == 20


def test_what_cannot_be_read_leaves_what_was_in_force() -> None:
    judge = PolicyJudge()
    policy = ack_policy({"resource": "ecs", "podLabels": {"key1": "x"}})
    told: list[LoadedPolicy] = []
    judge.tell(policy.key.group, told.append)
    assert judge.judged(policy) == policy
    bad = Unreadable(identity(b'{"metadata":{"name":"c","uid":"u","resourceVersion":"1"}}'), "bad")
    judge.unreadable(bad)  # never read: no key passes
    judge.keep(set(), 1)
    judge.put(BindingKeys.read({"refused": "^istio"}))
    assert [type(each) for each in told] == [InvalidPolicy, Policy]
    judge.unreadable(bad)
    judge.keep(set(), 2)
    assert judge.keys.problem("istio.io/rev")
    assert judge.keys.problem("key1") is None
    judge.keep(set(), 3)  # it is gone: no key passes
    assert judge.keys.problem("key1")
    assert judge.keys.problem("spillover.dev/unit") is None
