"""Many policies and many running pods, made quickly."""

import asyncio
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

from harness import scenes
from harness.cluster import Cluster, Options
from spillover.kube.credentials import Credentials
from spillover.kube.session import ApiSession

Object = dict[str, Any]

UNATTENDED = Options(
    controllers=("namespace-controller", "serviceaccount-controller"),
    api_server_arguments=("disable-admission-plugins=TaintNodesByCondition",),
)
"""For a cluster whose nodes are never heard of again: nothing takes them for dead, and heartbeats
cost nothing."""

_NAMESPACES = 20
_AT_ONCE = 16
_PATCH = "application/strategic-merge-patch+json"
_UNITS: list[Object] = [
    {"resource": "ecs", "nodeSelector": {"pool": "prepaid"}, "max": 8},
    {"resource": "eci", "max": 5},
    {"resource": "ecs", "nodeSelector": {"pool": "postpaid"}},
]


@dataclass(frozen=True)
class Population:
    """`pods` is a multiple of `policies`. Pods lie on the nodes `prepaid-N`, bound by nobody of
    ours; those of a policy carry its name as the label `app`."""

    policies: int
    pods: int

    def namespaces(self) -> list[str]:
        return [f"crowd-{number}" for number in range(_NAMESPACES)]

    def place_of(self, policy: int) -> tuple[str, str]:
        """Namespace and name of a policy."""
        return f"crowd-{policy % _NAMESPACES}", f"app-{policy}"

    def pods_of(self, policy: int) -> list[str]:
        return [f"app-{policy}-{number}" for number in range(self.pods // self.policies)]

    async def make(self, cluster: Cluster) -> None:
        nodes = [scenes.node(f"prepaid-{n}", gpus=0, labels={"pool": "prepaid"}) for n in range(20)]
        cluster.add_nodes(*nodes, scenes.virtual_node("virtual-0", gpus=0))
        for namespace in self.namespaces():
            cluster.kubectl("create", "namespace", namespace)
        for namespace in self.namespaces():
            cluster.kubectl("wait", "--for=create", "sa/default", "-n", namespace, "--timeout=60s")
        async with ApiSession(Credentials(cluster.kubeconfig)) as session:
            await at_once(self._create_policy(session, n) for n in range(self.policies))
            await at_once(
                self._create_pod(session, policy, name, number)
                for policy in range(self.policies)
                for number, name in enumerate(self.pods_of(policy))
            )

    async def touch(self, session: ApiSession, policies: Iterable[int], *, is_ready: bool) -> None:
        """Changes the readiness of all their pods."""
        await at_once(
            self._set_ready(session, policy, name, is_ready=is_ready)
            for policy in policies
            for name in self.pods_of(policy)
        )

    async def _create_policy(self, session: ApiSession, number: int) -> None:
        namespace, name = self.place_of(number)
        body = scenes.policy(scenes.ACK, namespace, name, selector={"app": name}, units=_UNITS)
        path = f"/apis/{body['apiVersion']}/namespaces/{namespace}/resourcepolicies"
        await session.request("POST", path, body=body)

    async def _create_pod(self, session: ApiSession, policy: int, name: str, number: int) -> None:
        namespace, app = self.place_of(policy)
        body = scenes.pod(
            namespace, name, "nobody", labels={"app": app}, gpus=0,
            nodeName=f"prepaid-{number % 20}",
        )  # fmt: skip
        await session.request("POST", f"/api/v1/namespaces/{namespace}/pods", body=body)

    async def _set_ready(
        self, session: ApiSession, policy: int, name: str, *, is_ready: bool
    ) -> None:
        namespace, _ = self.place_of(policy)
        condition = {"type": "Ready", "status": str(is_ready)}
        await session.request(
            "PATCH",
            f"/api/v1/namespaces/{namespace}/pods/{name}/status",
            body={"status": {"conditions": [condition]}},
            content_type=_PATCH,
        )


async def create(session: ApiSession, path: str, body: Object) -> None:
    """Creates one object. `path` is that of its collection."""
    await session.request("POST", path, body=body)


async def at_once(requests: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Runs them, a few at a time."""
    room = asyncio.Semaphore(_AT_ONCE)

    async def one(request: Coroutine[Any, Any, None]) -> None:
        async with room:
            await request

    async with asyncio.TaskGroup() as group:
        for request in requests:
            group.create_task(one(request))
