"""What `spillover explain` says is what the extender answers: random policies and pods, stored in a
real API server and read from there by each of the two in its own way."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from wiring import Wired

from harness import scenes
from harness.cluster import Cluster, Options, running
from harness.places import MANIFESTS
from spillover.cli.snapshot import take
from spillover.controller.statuses import Statuses
from spillover.controller.watching import reflectors
from spillover.core.cache.cluster import ClusterCache
from spillover.core.cache.unschedulable import Bounds
from spillover.core.dialects import load
from spillover.core.model.conventions import NodeConventions
from spillover.core.model.policy import Policy
from spillover.core.reporting.explain import PodExplanation, Verdict, explain_pod
from spillover.core.scheduler import Scheduler
from spillover.kube.credentials import Credentials
from spillover.kube.session import ApiSession

Object = dict[str, Any]
BATCH = 25
CONVENTIONS = NodeConventions(schedulers=frozenset({"nobody"}))
"""Of the extender, and of whoever explains: no scheduler runs that could place the pods."""
TEAM = {"key": "team", "value": "x", "effect": "NoSchedule"}
HIGH = "explain-agrees-high"
FINALIZER = "spillover.dev/test"
_PLURAL = {"Pod": "pods", "Deployment": "deployments", "ResourcePolicy": "resourcepolicies"}


@dataclass(frozen=True)
class Host:
    """One node of the zoo, and what of it the test itself judges by."""

    name: str
    pool: str
    gpus: int = 50
    virtual: bool = False
    managed: bool = False
    tainted: bool = False
    cordoned: bool = False

    def manifest(self) -> Object:
        labels = {"pool": self.pool, "size": "7" if self.pool == "a" else "30"}
        if self.virtual:
            labels["type"] = "virtual-kubelet"
        if self.managed:
            labels["goatscaler.io/managed"] = "true"
        taints = [TEAM] if self.tainted else []
        if self.virtual:
            taints.append(scenes.PROVIDER_TAINT)
        return scenes.node(
            self.name, gpus=self.gpus, labels=labels, taints=taints, unschedulable=self.cordoned
        )


ZOO = [
    Host("zoo-a", "a"),
    Host("zoo-a-tainted", "a", tainted=True),
    Host("zoo-a-small", "a", gpus=0),
    Host("zoo-b", "b"),
    Host("zoo-b-cordoned", "b", cordoned=True),
    Host("zoo-elastic", "b", managed=True),
    Host("zoo-virtual", "v", virtual=True),
    Host("zoo-virtual-tainted", "v", virtual=True, tainted=True),
]

# --- random examples ------------------------------------------------------------------------------

_hash = st.sampled_from([None, "a", "b"])
_cores = st.integers(0, 2)


def _some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Object]:
    """Each of the fields, or not."""
    return st.fixed_dictionaries({}, optional=fields)


_MARKER = "k8s.aliyun.com/resource-policy-wait-for-ecs-scaling"
_ack_unit = st.builds(
    lambda resource, more: {"resource": resource, **more},
    st.sampled_from(["ecs", "ecs", "elastic", "eci", "acs"]),
    _some(
        nodeSelector=st.sampled_from([{"pool": "a"}, {"pool": "b"}, {"pool": "gone"}]),
        max=st.sampled_from([0, 1, 1, 2, 3, -1]),
        maxResources=st.sampled_from([{"cpu": "1"}, {"cpu": 3}, {"nvidia.com/gpu": "1"}]),
        podLabels=st.sampled_from([{"tier": "x"}, {_MARKER: "true"}, {"tier": "y", _MARKER: "no"}]),
        podAnnotations=st.just({"note": "x"}),
    ),
)
_ack = st.builds(
    lambda units, preempt, more: (scenes.ACK, {"units": units, "preemptPolicy": preempt, **more}),
    st.lists(_ack_unit, min_size=1, max_size=4),
    st.sampled_from(["BeforeNextUnit", "BeforeNextUnit", "AfterAllUnits"]),
    _some(
        matchLabelKeys=st.just(["hash"]),
        ignorePreviousPod=st.booleans(),
        ignoreTerminatingPod=st.booleans(),
        whenTryNextUnits=st.fixed_dictionaries(
            {
                "policy": st.sampled_from(
                    ["ExceedMax", "LackResourceOrExceedMax", "LackResourceAndNoTerminating",
                     "TimeoutOrExceedMax", "TimeoutOrExceedMax"]
                )
            },
            optional={"timeout": st.sampled_from(["10m", "1h"])},
        ),
    ),
)  # fmt: skip
_term = st.sampled_from(
    [
        {"key": "pool", "operator": "In", "values": ["a"]},
        {"key": "pool", "operator": "NotIn", "values": ["a"]},
        {"key": "size", "operator": "Gt", "values": ["10"]},
        {"key": "goatscaler.io/managed", "operator": "DoesNotExist"},
        {"key": "pool", "operator": "Exists"},
    ]
)
_vke = st.builds(
    lambda subsets, more: (
        scenes.VKE,
        {"subsets": [{"name": f"s{n}", **subset} for n, subset in enumerate(subsets)], **more},
    ),
    st.lists(
        st.builds(
            lambda kind, more: {"type": kind, **more},
            st.sampled_from(["ecs", "vci"]),
            _some(
                maxReplicas=st.integers(0, 3),
                maxReplicasRatio=st.sampled_from(["0.5", "0.25", "abc"]),
                whenNotReachMax=st.sampled_from(["ScheduleAnyWay", "DoNotSchedule"]),
                nodeSelectorTerm=st.lists(_term, max_size=2),
            ),
        ),
        min_size=1,
        max_size=3,
    ),
    _some(strategy=st.sampled_from(["prefer", "require"])),
)
_bound = st.fixed_dictionaries(
    {
        "node": st.sampled_from([host.name for host in ZOO]),
        "unit": st.sampled_from([None, 0, 0, 1, 2]),
        "hash": _hash,
        "tier": st.booleans(),
        "note": st.booleans(),
        "cores": _cores,
        "previous": st.booleans(),
        "terminating": st.sampled_from([False, False, False, True]),
    }
)
_subject = st.fixed_dictionaries(
    {
        "hash": _hash,
        "cores": _cores,
        "gpus": st.integers(0, 1),
        "tolerations": st.sampled_from([[], [], [{"key": "team", "operator": "Exists"}]]),
        "pool": st.sampled_from([None, None, "a", "v", "v"]),
        "affine": st.booleans(),
        "high": st.sampled_from([True, True, False]),
        "waits": st.sampled_from([None, None, (0, 120), (0, 7200), (1, 7200)]),
    }
)
_example = st.fixed_dictionaries(
    {
        "policy": st.one_of(_ack, _vke),
        "rival": st.sampled_from([None, None, None, {"units": [{"resource": "eci", "max": 1}]}]),
        "replicas": st.integers(0, 6),
        "bound": st.lists(_bound, max_size=5),
        "subject": _subject,
    }
)

# --- from an example to objects -------------------------------------------------------------------


class Staged:
    """One example in the API server. Its objects carry the label app with its name."""

    def __init__(self, name: str, namespace: str, example: Object) -> None:
        self.name, self.namespace, self.example = name, namespace, example
        self.owner = ""
        group, spec = example["policy"]
        self.policy = scenes.policy(group, namespace, name, **{"selector": {"app": name}, **spec})
        loaded = load(self.policy, group)
        self.units = [unit.identity for unit in loaded.units] if isinstance(loaded, Policy) else []

    def deployment(self) -> Object:
        made = scenes.deployment(
            self.namespace, self.name, "nobody", replicas=self.example["replicas"]
        )
        made["spec"]["paused"] = True  # so that it makes no pods of its own
        return made

    def rival(self) -> Object | None:
        spec = self.example["rival"]
        if spec is None:
            return None
        return scenes.policy(
            scenes.ACK, self.namespace, f"z-{self.name}", selector={"app": self.name}, **spec
        )

    def bound(self, *, previous: bool) -> list[Object]:
        return [
            self._bound(number, each)
            for number, each in enumerate(self.example["bound"])
            if each["previous"] == previous
        ]

    def _bound(self, number: int, each: Object) -> Object:
        labels = {"tier": "x"} if each["tier"] else {}
        annotations = {"note": "x"} if each["note"] else {}
        if each["unit"] is not None and each["unit"] < len(self.units):
            group = self.example["policy"][0]
            annotations["spillover.dev/policy"] = f"{group}/{self.name}"
            annotations["spillover.dev/unit"] = self.units[each["unit"]]
        made = self._pod(f"{self.name}-{number}", labels, annotations, each)
        made["spec"]["nodeName"] = each["node"]
        if each["terminating"]:
            made["metadata"]["finalizers"] = [FINALIZER]
        return made

    def subject(self) -> Object:
        want = self.example["subject"]
        annotations = {}
        if want["waits"] is not None and want["waits"][0] < len(self.units):
            unit, seconds = want["waits"]
            since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - seconds))
            annotations["spillover.dev/waiting"] = json.dumps({self.units[unit]: since})
        made = self._pod(f"{self.name}-subject", {}, annotations, want)
        spec = made["spec"]
        spec["tolerations"] = want["tolerations"]
        if want["gpus"]:
            spec["containers"][0]["resources"]["limits"] = {scenes.GPU: "1"}
        if want["high"]:
            spec["priorityClassName"] = HIGH
        if want["pool"] and not want["affine"]:
            spec["nodeSelector"] = {"pool": want["pool"]}
        elif want["pool"]:
            term = {"key": "pool", "operator": "In", "values": [want["pool"]]}
            required = {"nodeSelectorTerms": [{"matchExpressions": [term]}]}
            spec["affinity"] = {
                "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}
            }
        return made

    def _pod(self, name: str, labels: Object, annotations: Object, each: Object) -> Object:
        labels = {"app": self.name, **labels}
        if each["hash"]:
            labels["hash"] = each["hash"]
        made = scenes.pod(
            self.namespace, name, "nobody", labels=labels, annotations=annotations, gpus=0
        )
        made["spec"]["containers"][0]["resources"] = {"requests": {"cpu": str(each["cores"])}}
        if self.owner:
            made["metadata"]["ownerReferences"] = [
                {
                    "apiVersion": "apps/v1",
                    "kind": "Deployment",
                    "name": self.name,
                    "uid": self.owner,
                    "controller": True,
                }
            ]
        return made

    def offered(self) -> list[str]:
        """The nodes that kube-scheduler would offer."""
        want = self.example["subject"]
        return [
            host.name
            for host in ZOO
            if not host.cordoned and host.gpus >= want["gpus"] and want["pool"] in (None, host.pool)
        ]


class Stage:
    """A namespace for batches of examples."""

    def __init__(self, session: ApiSession, namespace: str) -> None:
        self.session = session
        self.namespace = namespace
        self.batches = 0
        self.policies = 0  # of the present batch

    def path(self, made: Object, name: str = "") -> str:
        version = made["apiVersion"]
        root = "/api/v1" if version == "v1" else f"/apis/{version}"
        return f"{root}/namespaces/{self.namespace}/{_PLURAL[made['kind']]}" + (
            f"/{name}" if name else ""
        )

    async def create(self, *objects: Object) -> list[Object]:
        return list(
            await asyncio.gather(*(self._request("POST", self.path(o), body=o) for o in objects))
        )

    async def _request(self, method: str, path: str, **more: Any) -> Object:
        found: Object = json.loads(await self.session.request(method, path, **more))
        return found

    async def put(self, examples: list[Object]) -> list[Staged]:
        """Stores a batch: pods of before, then policies, then the others."""
        self.batches += 1
        staged = [
            Staged(f"ex-{self.batches}-{number}", self.namespace, example)
            for number, example in enumerate(examples)
        ]
        for each, owner in zip(
            staged, await self.create(*(each.deployment() for each in staged)), strict=True
        ):
            if each.example["replicas"]:
                each.owner = owner["metadata"]["uid"]
        before = [made for each in staged for made in each.bound(previous=True)]
        stored = await self.create(*before)
        await self._next_second(
            max((o["metadata"]["creationTimestamp"] for o in stored), default="")
        )
        await self.create(*(each.policy for each in staged))
        rivals = [rival for each in staged if (rival := each.rival()) is not None]
        await self.create(*rivals)
        self.policies = len(staged) + len(rivals)
        after = [made for each in staged for made in each.bound(previous=False)]
        await self.create(*after)
        leaving = [made for made in (*before, *after) if "finalizers" in made["metadata"]]
        await asyncio.gather(
            *(
                self._request(
                    "DELETE",
                    self.path(made, made["metadata"]["name"]),
                    body={"gracePeriodSeconds": 0},
                )
                for made in leaving
            )
        )
        await self.create(*(each.subject() for each in staged))
        return staged

    async def _next_second(self, instant: str) -> None:
        """The API server writes times in whole seconds: a policy made in the second of a pod is not
        younger than it."""
        while time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()) <= instant:  # noqa: ASYNC110 - a clock tells no event
            await asyncio.sleep(0.02)

    async def clear(self, staged: list[Staged]) -> None:
        """Removes a batch, finalizers and all."""
        patch = {"metadata": {"finalizers": None}}
        pods = f"/api/v1/namespaces/{self.namespace}/pods"
        for listed in (await self._request("GET", pods))["items"]:
            if listed["metadata"].get("finalizers"):
                await self._request(
                    "PATCH", f"{pods}/{listed['metadata']['name']}", body=patch,
                    content_type="application/merge-patch+json",
                )  # fmt: skip
        await self._request("DELETE", pods, body={"gracePeriodSeconds": 0})
        groups = {each.policy["apiVersion"] for each in staged}
        groups.add("scheduling.alibabacloud.com/v1alpha1")
        for version in groups:
            await self._request(
                "DELETE", f"/apis/{version}/namespaces/{self.namespace}/resourcepolicies"
            )
        await self._request("DELETE", f"/apis/apps/v1/namespaces/{self.namespace}/deployments")


@asynccontextmanager
async def extender(
    session: ApiSession,
) -> AsyncIterator[tuple[Scheduler, TestClient[Any, Any]]]:
    """The extender's application on watches of the API server."""
    # In a crowd all are told the same: here each is to be told its own reason.
    cluster = ClusterCache(
        CONVENTIONS, time.monotonic, time.time, lambda: 0.5, Bounds(tried=10_000)
    )
    watches = reflectors(
        session,
        cluster,
        Statuses(session, lambda: datetime.now(UTC)),
        "default",
        Random(1),
        time.monotonic,
    )
    wired = Wired(session, cluster, watches)
    tasks = [asyncio.create_task(watch.run()) for watch in watches]
    try:
        async with TestClient(TestServer(wired.app)) as client:
            yield wired.scheduler, client
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def seen(scheduler: Scheduler, stage: Stage, versions: dict[str, int]) -> None:
    """Waits until the extender has read the batch: pods at their versions, and all policies."""
    async with asyncio.timeout(30):
        while True:
            pods = {pod.name: pod.version for pod in scheduler.cluster.pods_of(stage.namespace)}
            listed = await stage.session.request(
                "GET", f"/apis/apps/v1/namespaces/{stage.namespace}/deployments"
            )
            policies = len(scheduler.cluster.policies.of_namespace(stage.namespace))
            owners = {item["metadata"]["uid"] for item in json.loads(listed)["items"]}
            if (
                all(pods.get(name, 0) >= version for name, version in versions.items())
                and pods.keys() == versions.keys()
                and policies == stage.policies
                and owners <= scheduler.cluster.workloads.uids("deployments")
            ):
                return
            await asyncio.sleep(0.02)


def agree(staged: Staged, report: PodExplanation, answer: Object) -> None:
    """The answer of filter and the report say the same."""
    offered = staged.offered()
    placed = answer.get("NodeNames") or []
    reasons = answer.get("FailedAndUnresolvableNodes", {})
    assert "Error" not in answer
    assert sorted(placed) == sorted(report.nodes), (placed, report)
    if placed:
        return
    assert sorted(reasons) == sorted(offered)
    reached = [unit for unit in report.units if unit.reached]
    stays = [u for u in reached if u.verdict in (Verdict.WAITS, Verdict.PREEMPTS)]
    assert len(stays) <= 1
    if stays:
        assert report.outcome == stays[0].reason
    for unit in reached:
        for name in {name for names in unit.nodes.values() for name in names} & set(offered):
            if unit.reason:
                assert unit.reason in reasons[name], (unit, reasons)
    if not report.units and offered:
        assert set(reasons.values()) <= {
            "node(s) had untolerated taint(s)",
            *(reason for reason in reasons.values() if "invalid" in reason or "lacks" in reason),
        }


@pytest.fixture
def zoo(cluster_name: str) -> Iterator[Cluster]:
    """A control plane of its own, with the CRDs: other tests want one without."""
    with running(Cluster(f"{cluster_name}-zoo"), Options(components=False)) as cluster:
        for file in sorted((MANIFESTS / "crds").glob("*.yaml")):
            cluster.kubectl("apply", "--server-side", "-f", str(file))
        cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        cluster.add_nodes(*(host.manifest() for host in ZOO))
        cluster.create(
            {
                "apiVersion": "scheduling.k8s.io/v1",
                "kind": "PriorityClass",
                "metadata": {"name": HIGH},
                "value": 100,
            }
        )
        yield cluster


@pytest.mark.timeout(1800)  # of the full count
async def test_filter_and_explain_never_disagree(zoo: Cluster, *, full: bool) -> None:
    counts: Counter[str] = Counter()
    loop = asyncio.get_running_loop()
    async with (
        ApiSession(Credentials(zoo.kubeconfig)) as session,
        extender(session) as (scheduler, client),
    ):
        stage = Stage(session, "default")

        async def batch(examples: list[Object]) -> None:
            staged = await stage.put(examples)
            try:
                await compare_all(stage, staged, scheduler, client, counts)
            finally:
                await stage.clear(staged)

        @settings(
            max_examples=40 if full else 4,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(st.lists(_example, min_size=BATCH, max_size=BATCH))
        def compare(examples: list[Object]) -> None:
            asyncio.run_coroutine_threadsafe(batch(examples), loop).result(timeout=120)

        await asyncio.to_thread(compare)
    print(f"{counts['pods']} pods compared: {dict(counts)}")
    if full:  # everything that can become of a pod came up
        assert {"placed", *(each.value for each in Verdict)} <= set(counts)


async def compare_all(
    stage: Stage,
    staged: list[Staged],
    scheduler: Scheduler,
    client: TestClient[Any, Any],
    counts: Counter[str],
) -> None:
    pods = json.loads(
        await stage.session.request("GET", f"/api/v1/namespaces/{stage.namespace}/pods")
    )["items"]
    await seen(
        scheduler,
        stage,
        {p["metadata"]["name"]: int(p["metadata"]["resourceVersion"]) for p in pods},
    )
    snapshot = await take(stage.session, stage.namespace, CONVENTIONS, time.time())
    wire = {pod["metadata"]["name"]: pod for pod in pods}
    for each in staged:
        subject = snapshot.pod(f"{each.name}-subject")
        assert subject is not None
        report = explain_pod(snapshot.cache, subject, snapshot.misfits(subject))
        body = {"Pod": wire[subject.name], "NodeNames": each.offered()}
        async with client.post("/filter", json=body) as answer:
            assert answer.status == 200, await answer.text()
            said = await answer.json()
        counts["pods"] += 1
        counts["placed"] += bool(said.get("NodeNames"))
        counts.update(unit.verdict.value for unit in report.units if unit.reached)
        agree(each, report, said)
