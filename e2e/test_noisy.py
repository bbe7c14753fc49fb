"""A tenant who does the worst that twenty requests a second allow, beside another tenant's pods."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from math import ceil
from pathlib import Path
from random import Random

import msgspec
import pytest

from harness.client import Object
from harness.cluster import Cluster, Options, running
from harness.containers import Container, extender
from harness.places import ROOT
from harness.scenes import ACK, VKE, node, pod, policy, virtual_node
from harness.watch import Watch, node_of
from spillover.kube.credentials import Credentials
from spillover.kube.session import MERGE_PATCH, ApiError, ApiSession

SCHEDULER = "spillover-scheduler"
QUIET, NOISY = "quiet", "noisy"
A_SECOND = 20
SPACING = 0.25
NODES = 50
MOST_TIMES = 2.0
MOST_OF_PLAIN = 1.25
"""Where the same requests slow a plain scheduler on this machine down by more than that."""
PLACED_SECONDS = 15
"""On two cores that the API server, etcd and both tenants share."""
_POLICIES = 4
DEPTH = 1100
"""Deep enough for an end of Python's recursion. The API server itself needs the square of it: two
seconds of a core for 5,000, whoever watches."""
MEMORY_LIMIT = 1024  # MiB, of the extender in manifests/base/scheduler.yaml


@contextmanager
def tenants(name: str, options: Options) -> Iterator[Cluster]:
    """A cluster with two tenants. Where Spillover does not run there are its CRDs."""
    with running(Cluster(name), options) as cluster:
        if not options.components:
            cluster.kubectl("apply", "--server-side", "-f", str(ROOT / "manifests/base/crds"))
            cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        for namespace in (QUIET, NOISY):
            cluster.kubectl("create", "namespace", namespace)
            cluster.kubectl("wait", "--for=create", "sa/default", "-n", namespace, "--timeout=30s")
        cluster.add_nodes(
            *(node(f"node-{n}", gpus=8, labels={"pool": f"p{n % 10}"}) for n in range(NODES)),
            virtual_node("virtual"),
        )
        cluster.create(
            policy(ACK, QUIET, "mine", selector={"app": "mine"},
                   units=[{"resource": "ecs", "max": 2}, {"resource": "eci"}]),
        )  # fmt: skip
        yield cluster


@pytest.mark.timeout(3000)
async def test_another_tenants_pods_are_placed(cluster_name: str, *, full: bool) -> None:
    seconds = 300 if full else 20
    with tenants(f"{cluster_name}-noisy", Options()) as cluster:
        processes = [
            extender(cluster),
            Container(cluster, "spillover-scheduler-0", "kube-scheduler"),
            Container(cluster, "spillover-webhook-0", "webhook"),
        ]
        before = [process.pid() for process in processes]
        times, beside, counts = await compared(cluster, SCHEDULER, seconds)
        most = int(_status(processes[0])["VmHWM"].split()[0]) / 1024
        print(f"extender: {most:.0f} MiB at most")
        assert sum(counts.values()) >= 0.9 * seconds * A_SECOND
        assert [process.pid() for process in processes] == before
        assert most < MEMORY_LIMIT
        assert max(beside) < PLACED_SECONDS
    most_times = MOST_TIMES
    if full:
        # What the same requests do to a scheduler that has nothing to do with us: the tenants share
        # the machine, with the API server.
        with tenants(f"{cluster_name}-plain", Options(components=False)) as plain:
            plain_times, _, _ = await compared(plain, "default-scheduler", seconds)
        most_times = max(most_times, MOST_OF_PLAIN * plain_times)
    if times > most_times:
        pytest.xfail(f"p99 is {times:.1f} times as long, and not {most_times:.1f} times")


async def compared(
    cluster: Cluster, scheduler: str, seconds: float
) -> tuple[float, list[float], dict[str, int]]:
    """How many times as long the quiet tenant's pods take beside the noisy one's (p99), how long
    each took, and the noisy tenant's requests."""
    alone = await placed(cluster, "alone", seconds, scheduler)
    async with noise(cluster, scheduler) as counts:
        beside = await placed(cluster, "beside", seconds, scheduler)
    times = _p99(beside) / _p99(alone)
    print(f"{scheduler}: requests of the noisy tenant: {counts}")
    print(f"{scheduler}: alone {_figures(alone)}, beside {_figures(beside)}: {times:.1f} times")
    return times, beside, counts


async def placed(cluster: Cluster, name: str, seconds: float, scheduler: str) -> list[float]:
    """Creates a pod every so often. Returns how long each took from its creation to its node."""
    created: dict[str, float] = {}
    bound: dict[str, float] = {}
    path = f"/api/v1/namespaces/{QUIET}/pods"
    with Watch(cluster, path) as pods:
        async with ApiSession(Credentials(cluster.kubeconfig)) as session:
            begun = time.monotonic()
            while time.monotonic() - begun < seconds:
                one = pod(QUIET, f"{name}-{len(created)}", scheduler, labels={"app": "mine"})
                created[one["metadata"]["name"]] = time.monotonic()
                await session.request("POST", path, body=one)
                await _until_bound(pods, one["metadata"]["name"], bound)
                await session.request(
                    "DELETE", f"{path}/{one['metadata']['name']}?gracePeriodSeconds=0"
                )
                await asyncio.sleep(SPACING)
    return [bound[each] - created[each] for each in created]


async def _until_bound(pods: Watch, name: str, bound: dict[str, float]) -> None:
    def is_bound(found: list[Object]) -> bool:
        return any(each["metadata"]["name"] == name and node_of(each) for each in found)

    await asyncio.to_thread(pods.wait_for, is_bound, 60, f"{name} bound")
    bound[name] = time.monotonic()


@asynccontextmanager
async def noise(cluster: Cluster, scheduler: str) -> AsyncIterator[dict[str, int]]:
    """The noisy tenant, while the block runs. Gives how many requests of each kind were answered,
    and how many were refused."""
    counts: dict[str, int] = {}
    async with ApiSession(Credentials(cluster.kubeconfig)) as session:
        tenant = Tenant(session, scheduler, counts)
        task = asyncio.create_task(tenant.run())
        try:
            yield counts
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


class Tenant:
    """May create, change and delete pods and policies in one namespace."""

    def __init__(self, session: ApiSession, scheduler: str, counts: dict[str, int]) -> None:
        self._session = session
        self._scheduler = scheduler
        self._counts = counts
        self._chance = Random(1)
        self._pods: list[str] = []
        self._number = 0
        # Edits of one object at once are tried again and again by the API server itself.
        self._turns = [asyncio.Lock() for _ in range(_POLICIES)]

    async def run(self) -> None:
        begun = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(10**9):
                await asyncio.sleep(max(0.0, begun + number / A_SECOND - time.monotonic()))
                group.create_task(self._one())

    async def _one(self) -> None:
        self._number += 1
        attacks = (
            *6 * (self._waiting_pod,), *3 * (self._odd_pod,), *3 * (self._policy_of_many_units,),
            *3 * (self._touched_pod,), self._deep_pod,
        )  # fmt: skip
        attack = self._chance.choice(attacks)
        name = attack.__name__.strip("_")
        try:
            await attack()
        except ApiError as error:
            name = f"{name} refused with {error.status}"
        self._counts[name] = self._counts.get(name, 0) + 1

    async def _create(self, body: Object) -> None:
        await self._session.request("POST", f"/api/v1/namespaces/{NOISY}/pods", body=body)
        self._pods.append(body["metadata"]["name"])

    async def _waiting_pod(self) -> None:
        """Its policy has a hundred units, each at its maximum."""
        labels = {"app": f"many-{self._number % _POLICIES}"}
        await self._create(pod(NOISY, f"w-{self._number}", self._scheduler, labels=labels, gpus=0))

    async def _odd_pod(self) -> None:
        body = pod(NOISY, f"o-{self._number}", self._scheduler, labels={"app": "many-0"}, gpus=0)
        quantity = self._chance.choice(["1e0003", "0" * 60 + "1", "1e-9", "9" * 18])
        body["spec"]["containers"][0]["resources"] = {"requests": {"cpu": quantity}}
        body["metadata"]["annotations"] = {f"k-{n}": "v" * 2000 for n in range(100)}
        await self._create(body)

    async def _touched_pod(self) -> None:
        """Any change of a pod makes the scheduler try it again."""
        if self._pods:
            marks = {"spillover.dev/waiting": "x" * 1000, "n": str(self._number)}
            await self._patched({"metadata": {"annotations": marks}})

    async def _deep_pod(self) -> None:
        if self._pods:
            deep = '{"f:a":' * DEPTH + "{}" + "}" * DEPTH
            fields = [{"manager": "m", "operation": "Update", "apiVersion": "v1",
                       "fieldsType": "FieldsV1", "fieldsV1": json.loads("{}")}]  # fmt: skip
            text = json.dumps({"metadata": {"managedFields": fields}})
            await self._patched(text.replace('"fieldsV1": {}', f'"fieldsV1": {deep}'))

    async def _patched(self, body: object) -> None:
        path = f"/api/v1/namespaces/{NOISY}/pods/{self._chance.choice(self._pods)}"
        raw = msgspec.Raw(body.encode()) if isinstance(body, str) else body
        await self._session.request("PATCH", path, body=raw, content_type=MERGE_PATCH)

    async def _policy_of_many_units(self) -> None:
        """Another one each time: a policy's edit concerns all its pods."""
        which = self._number % _POLICIES
        dialect = ACK if which % 2 else VKE
        limit = "max" if dialect == ACK else "maxReplicas"
        units: list[Object] = [
            {"resource": "ecs", limit: 0, "nodeSelector": {"pool": f"p{n % 10}"}}
            if dialect == ACK
            else {"name": f"{self._number}-{n}-{'n' * 40}", "type": "ecs", limit: 0}
            for n in range(100)
        ]
        spec: Object = (
            {"selector": {"app": f"many-{which}"}, "units": units, "strategy": "prefer"}
            if dialect == ACK
            else {"selector": {"app": f"many-{which}"}, "subsets": units}
        )
        spec["preemptPolicy" if dialect == ACK else "unknown"] = "BeforeNextUnit"
        body = policy(dialect, NOISY, f"many-{which}", **spec)
        path = f"/apis/{body['apiVersion']}/namespaces/{NOISY}/resourcepolicies"
        async with self._turns[which]:
            try:
                await self._session.request(
                    "PATCH", f"{path}/many-{which}", body={"spec": spec}, content_type=MERGE_PATCH
                )
            except ApiError as error:
                if error.status != 404:
                    raise
                await self._session.request("POST", path, body=body)


def _p99(seconds: list[float]) -> float:
    return sorted(seconds)[ceil(0.99 * len(seconds)) - 1]


def _figures(seconds: list[float]) -> str:
    middle = sorted(seconds)[len(seconds) // 2]
    return f"{len(seconds)} pods: median {middle * 1000:.0f} ms, p99 {_p99(seconds) * 1000:.0f} ms"


def _status(container: Container) -> dict[str, str]:
    lines = Path(f"/proc/{container.pid()}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)
