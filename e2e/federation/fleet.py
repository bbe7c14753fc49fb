"""A hub and three member clusters, with the stand-in for KubeAdmiral between them."""

import asyncio
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from federation import objects
from federation.engine import Engine
from harness.cluster import Cluster, Options
from harness.scenes import ACK, VKE, Object, pod_spec, three_tier_nodes, three_tiers
from spillover.federation.room import GROWS_TO_ANNOTATION
from spillover.kube.credentials import Credentials
from spillover.kube.session import ApiSession

VKE1, VKE2, ACK1 = "vke-poc1", "vke-poc2", "ack-poc"
MEMBERS = (VKE1, VKE2, ACK1)
NAMESPACE = "default"
WORKLOAD = "gpu-demo"
POSTPAID = {VKE1: 2, VKE2: 2, ACK1: 10}
_DIALECTS = {VKE1: VKE, VKE2: VKE, ACK1: ACK}
VIRTUAL_ANNOTATIONS = {
    VKE1: ("vci.vke.volcengine.com/preferred-instance-types", "vci.g1v.2xlarge"),
    VKE2: ("vci.vke.volcengine.com/preferred-instance-types", "vci.g1v.2xlarge"),
    ACK1: ("k8s.aliyun.com/eci-use-specs", "ecs.gn5i-c2g1.large"),
}
"""What the OverridePolicy adds to the pods of each cluster."""
_HUB_CONTROLLERS = (
    "namespace-controller",
    "garbage-collector-controller",
    "serviceaccount-controller",
)
"""As on a hub of KubeAdmiral: nothing makes pods of its Deployments."""


@dataclass(frozen=True)
class Fleet:
    """`members` by name."""

    hub: Cluster
    members: Mapping[str, Cluster]

    def scale(self, replicas: int) -> None:
        self.hub.kubectl("scale", f"deployment/{WORKLOAD}", f"--replicas={replicas}")

    def set_virtual_max(self, most: int, *names: str) -> None:
        for name in names:
            self.members[name].apply(
                three_tiers(_DIALECTS[name], NAMESPACE, WORKLOAD, virtual_max=most)
            )

    def declare_size(self, name: str, size: str | None) -> None:
        """How many pods the units of the member's policy hold when all nodes are there."""
        self.members[name].kubectl(
            "annotate", f"resourcepolicies.{_DIALECTS[name]}", WORKLOAD, "--overwrite",
            f"{GROWS_TO_ANNOTATION}={size}" if size is not None else f"{GROWS_TO_ANNOTATION}-",
        )  # fmt: skip


@contextmanager
def fleet(name: str) -> Iterator[Fleet]:
    """Starts the clusters, with nodes and policies."""
    hub = Cluster(f"{name}-hub")
    members = {member: Cluster(f"{name}-{member}") for member in MEMBERS}
    with ExitStack() as stack, ThreadPoolExecutor(len(MEMBERS) + 1) as pool:
        hub_options = Options(components=False, controllers=_HUB_CONTROLLERS, rights=True)
        starts = [
            pool.submit(hub.up, hub_options),
            *(pool.submit(each.up, Options(rights=True)) for each in members.values()),
        ]
        for cluster in (hub, *members.values()):
            stack.callback(cluster.down)
        for start in starts:
            start.result()
        hub.apply(*objects.crds())
        hub.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        hub.apply(*map(joined, MEMBERS))
        for member, cluster in members.items():
            cluster.add_nodes(*three_tier_nodes(postpaid=POSTPAID[member]))
            cluster.apply(three_tiers(_DIALECTS[member], NAMESPACE, WORKLOAD))
        yield Fleet(hub, members)


def joined(member: str) -> Object:
    """The FederatedCluster of a member that is ready."""
    statuses = {"Joined": "True", "Ready": "True", "Offline": "False"}
    return {
        "apiVersion": f"{objects.GROUP}/v1alpha1",
        "kind": "FederatedCluster",
        "metadata": {"name": member},
        "spec": {},
        "status": {
            "conditions": [{"type": type_, "status": each} for type_, each in statuses.items()]
        },
    }


class Running:
    """A context manager: the engine works, in a thread of its own."""

    def __init__(self, found: Fleet) -> None:
        self._fleet = found
        self._loop = asyncio.new_event_loop()
        self._task: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._end)
        self._thread.join(timeout=30)

    def _end(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._task = self._loop.create_task(self._engine())
        with suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._task)
        # The end of connections takes a moment of the loop.
        self._loop.run_until_complete(asyncio.sleep(0.1))
        self._loop.close()

    async def _engine(self) -> None:
        async with AsyncSessions(self._fleet) as sessions:
            await Engine(sessions.hub, sessions.members).run()


class AsyncSessions:
    """Sessions of an administrator with the hub and the members."""

    def __init__(self, found: Fleet) -> None:
        self.hub = ApiSession(Credentials(found.hub.kubeconfig))
        self.members = {
            name: ApiSession(Credentials(cluster.kubeconfig))
            for name, cluster in found.members.items()
        }

    async def __aenter__(self) -> Self:
        for session in (self.hub, *self.members.values()):
            await session.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        for session in (self.hub, *self.members.values()):
            await session.__aexit__(None, None, None)


def propagation(name: str, *, threshold: str = "10s", packs: bool = False) -> Object:
    """By weight 40/40/20, or by priority 3/2/1; two replicas at least in each cluster."""
    preferences = (
        [{"minReplicas": 2, "priority": priority} for priority in (3, 2, 1)]
        if packs
        else [{"minReplicas": 2, "weight": weight} for weight in (40, 40, 20)]
    )
    return {
        "apiVersion": f"{objects.GROUP}/v1alpha1",
        "kind": "PropagationPolicy",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "schedulingMode": "Divide",
            "replicasStrategy": "Binpack" if packs else "Spread",
            "placement": [
                {"cluster": member, "preferences": each}
                for member, each in zip(MEMBERS, preferences, strict=True)
            ],
            "autoMigration": {
                "keepUnschedulableReplicas": True,
                "when": {"podUnschedulableFor": threshold},
            },
            "reschedulePolicy": {"replicaRescheduling": {"avoidDisruption": False}},
        },
    }


def override(name: str) -> Object:
    """Adds the annotations for virtual nodes of each vendor."""
    return {
        "apiVersion": f"{objects.GROUP}/v1alpha1",
        "kind": "OverridePolicy",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "overrideRules": [
                {
                    "targetClusters": {"clusters": [member]},
                    "overriders": {
                        "jsonpatch": [
                            {
                                "operator": "add",
                                "path": "/spec/template/metadata/annotations/"
                                + key.replace("/", "~1"),
                                "value": value,
                            }
                        ]
                    },
                }
                for member, (key, value) in VIRTUAL_ANNOTATIONS.items()
            ]
        },
    }


def workload(replicas: int, policy: str, overrides: str) -> Object:
    labels = {"app": WORKLOAD}
    spec = pod_spec("default-scheduler")
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": WORKLOAD,
            "namespace": NAMESPACE,
            "labels": {objects.POLICY_LABEL: policy, objects.OVERRIDE_LABEL: overrides},
        },
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels, "annotations": {"placeholder": "1"}},
                "spec": spec,
            },
        },
    }
