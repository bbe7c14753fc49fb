"""What the controller writes, on a real API server, which a proxy stands in front of."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml

from builders import leading
from harness import scenes
from harness.cluster import Cluster, Options, running
from harness.places import MANIFESTS
from harness.proxy import Answer, Fate, Lag, Proxy, Request, Treatment
from spillover.controller.pod_writer import PodWriter
from spillover.controller.reconciler import Reconciler
from spillover.controller.statuses import Statuses
from spillover.controller.unit_series import UnitSeries
from spillover.controller.watching import reflectors
from spillover.core.cache.cluster import ClusterCache
from spillover.core.model.conventions import NodeConventions
from spillover.core.model.pods import Pod
from spillover.core.reporting.desired_annotations import DesiredAnnotations
from spillover.core.reporting.status import report
from spillover.core.scheduler import Scheduler
from spillover.kube.credentials import Credentials
from spillover.kube.session import ApiSession
from subject import always, through_a_proxy

Object = dict[str, Any]
COST = "controller.kubernetes.io/pod-deletion-cost"
MARK = "spillover.dev/deletion-cost"
WITHIN = 20.0
CONFLICT = json.dumps({"kind": "Status", "reason": "Conflict", "message": "try again"})


@dataclass
class Place:
    """The controller's rounds on watches of their own; its writes go through the proxy."""

    cluster: Cluster
    namespace: str
    proxy: Proxy
    scheduler: Scheduler
    rounds: Reconciler
    series: UnitSeries
    failures: list[str]
    statuses: Statuses

    def is_said(self) -> bool:
        """Whether every policy has the status that it should have, for all that is known here."""
        every = self.scheduler.cluster.policies.all()
        return all(
            self.statuses.wanted(report(self.scheduler.cluster, each)) is None for each in every
        )

    def policy(self, name: str, most: int = 9) -> None:
        units = [{"resource": "ecs", "max": most}]
        self.cluster.apply(
            scenes.policy(scenes.ACK, self.namespace, name, selector={"app": name}, units=units)
        )

    def pods(self, app: str, count: int) -> None:
        """Bound, to a node of the policies."""
        self.cluster.create(
            *(
                scenes.pod(self.namespace, f"{app}-{n}", "nobody", labels={"app": app}, gpus=0,
                           nodeName="rounds-0")
                for n in range(count)
            )
        )  # fmt: skip

    def status(self, name: str) -> Object:
        found: Object = json.loads(
            self.cluster.kubectl(
                "get", f"resourcepolicy.{scenes.ACK}", name, "-n", self.namespace, "-o", "json"
            )
        )
        return dict(found.get("status", {}))

    def costs(self, app: str) -> dict[str, str | None]:
        found = self.cluster.items("pods", "-n", self.namespace, "-l", f"app={app}")
        return {
            each["metadata"]["name"]: each["metadata"].get("annotations", {}).get(COST)
            for each in found
        }

    def written(self, path: str) -> list[float]:
        """When our writes to such a path came."""
        return [
            at
            for at, request in self.proxy.requests
            if request.method == "PATCH" and path in request.path
        ]


async def until(holds: Callable[[], bool], seconds: float = WITHIN) -> None:
    deadline = time.monotonic() + seconds
    while not await asyncio.to_thread(holds):
        assert time.monotonic() < deadline, "not in time"
        await asyncio.sleep(0.05)


@pytest.fixture(scope="module")
def policies(cluster_name: str) -> Iterator[Cluster]:
    """A control plane with the kinds of policies, and a node."""
    with running(Cluster(f"{cluster_name}-rounds"), Options(components=False)) as cluster:
        for file in sorted((MANIFESTS / "crds").glob("*.yaml")):
            cluster.apply(yaml.safe_load(file.read_text()))
        cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        cluster.add_nodes(scenes.node("rounds-0", gpus=0))
        yield cluster


@pytest.fixture
def stage(policies: Cluster) -> Iterator[str]:
    """A namespace."""
    namespace = f"test-{uuid.uuid4().hex[:8]}"
    policies.kubectl("create", "namespace", namespace)
    policies.kubectl("wait", "--for=create", "sa/default", "-n", namespace, "--timeout=30s")
    yield namespace
    policies.kubectl("delete", f"resourcepolicies.{scenes.ACK}", "--all", "-n", namespace)
    policies.kubectl("delete", "namespace", namespace, "--wait=false")


@pytest.fixture
async def place(policies: Cluster, stage: str, tmp_path: Path) -> AsyncIterator[Place]:
    async with (
        through_a_proxy(policies, tmp_path) as (proxy, session),
        ApiSession(Credentials(policies.kubeconfig)) as direct,
        rounds_of(policies, stage, proxy, session, direct) as found,
    ):
        yield found


@asynccontextmanager
async def rounds_of(
    cluster: Cluster, namespace: str, proxy: Proxy, session: ApiSession, watched: ApiSession
) -> AsyncIterator[Place]:
    """Writes go through `session`, and so to the proxy; watches through `watched`."""
    scheduler = leading(
        Scheduler(ClusterCache(NodeConventions(), time.monotonic, time.time, lambda: 0.5))
    )
    statuses = Statuses(session, lambda: datetime.now(UTC))
    series = UnitSeries(lambda: True)
    writer = PodWriter(session, lambda _: None, at_once=3)
    failures: list[str] = []
    rounds = Reconciler(
        scheduler.cluster,
        statuses,
        series,
        writer,
        lambda _: None,
        failures.append,
        time.monotonic,
        Random(1),
    )
    watches = reflectors(watched, scheduler.cluster, statuses, "default", Random(1), time.monotonic)
    tasks = [asyncio.create_task(watch.run()) for watch in watches]
    tasks.append(asyncio.create_task(rounds.run()))
    try:
        for watch in watches:
            await asyncio.wait_for(watch.synced.wait(), 20)
        yield Place(cluster, namespace, proxy, scheduler, rounds, series, failures, statuses)
        assert not any(task.done() for task in tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_status_that_is_refused_for_a_while_is_written_later(place: Place) -> None:
    refused: list[Request] = []

    def conflicts_three_times(request: Request) -> Treatment:
        if request.path.partition("?")[0].endswith("/refused/status") and len(refused) < 3:
            refused.append(request)
            return Answer(409, CONFLICT)
        return Fate.PASS

    place.proxy.fate = conflicts_three_times
    place.policy("refused")
    place.policy("other")
    place.pods("refused", 1)
    await until(lambda: bool(place.status("other")))
    # A status that cannot be written holds back no cost.
    await until(lambda: place.costs("refused") == {"refused-0": "100"})
    await until(lambda: place.status("refused").get("pods") == 1)
    assert len(refused) == 3


async def test_what_changes_while_a_status_is_being_written_is_written_next(
    policies: Cluster, stage: str, tmp_path: Path
) -> None:
    """The answer comes late, and the watch later; meanwhile all is as it was before."""

    def late(request: Request) -> Treatment:
        if request.is_watch and "/resourcepolicies" in request.path:
            return Lag(4.0)
        return Lag(2.5) if request.path.partition("?")[0].endswith("/app/status") else Fate.PASS

    async with through_a_proxy(policies, tmp_path) as (proxy, session):
        proxy.fate = late
        async with rounds_of(policies, stage, proxy, session, session) as place:
            place.policy("app")
            await until(lambda: place.status("app").get("pods") == 0)
            await until(lambda: len(place.written("/app/status")) == 1)
            await until(place.is_said)
            place.pods("app", 1)
            await until(lambda: place.status("app").get("pods") == 1)
            place.cluster.kubectl("delete", "pod", "app-0", "-n", place.namespace, "--force")
            await until(lambda: place.status("app").get("pods") == 0)


async def test_a_bug_that_one_pod_brings_out_stays_with_it(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = DesiredAnnotations.wanted

    def fails(upkeep: DesiredAnnotations, pod: Pod) -> dict[str, str | None]:
        if pod.name == "app-2":
            raise RuntimeError("a bug")
        return wanted(upkeep, pod)

    monkeypatch.setattr(DesiredAnnotations, "wanted", fails)
    place.policy("app", most=40)
    place.pods("app", 40)
    await until(lambda: sum(cost == "100" for cost in place.costs("app").values()) == 39)
    assert place.failures
    assert place.costs("app")["app-2"] is None


async def test_pods_that_nobody_may_write_to_keep_no_others_waiting(place: Place) -> None:
    place.proxy.fate = lambda request: (
        Answer(403, "{}") if "/pods/denied-" in request.path else Fate.PASS
    )
    place.policy("denied", most=100)
    place.policy("other")
    place.pods("denied", 100)
    await until(lambda: len(place.written("/pods/denied-")) >= 100)
    place.pods("other", 1)
    begun = time.monotonic()
    await until(lambda: place.costs("other") == {"other-0": "100"}, 5.0 * 5)
    print(f"another pod's cost was written after {time.monotonic() - begun:.1f} s")
    place.proxy.fate = always(Fate.PASS)
    await until(lambda: set(place.costs("denied").values()) == {"100"}, 180)


async def test_a_cost_that_a_user_sets_at_the_same_moment_stays(place: Place) -> None:
    """Our write is on its way when theirs is stored."""

    def overtaken(request: Request) -> Treatment:
        if request.method == "PATCH" and "/pods/app-0" in request.path:
            return Fate.HOLD
        return Fate.PASS

    place.proxy.fate = overtaken
    place.policy("app")
    place.pods("app", 1)
    await until(lambda: bool(place.proxy.delayed))
    place.cluster.kubectl("annotate", "pod", "app-0", "-n", place.namespace, f"{COST}=7")
    place.proxy.fate = always(Fate.PASS)
    assert await place.proxy.release() == [409]
    await until(
        lambda: any(
            each["type"] == "OwnDeletionCost" and each["status"] == "True"
            for each in place.status("app").get("conditions", [])
        )
    )
    assert place.costs("app") == {"app-0": "7"}


async def test_what_something_takes_back_is_written_less_and_less_often(place: Place) -> None:
    place.policy("app")
    place.pods("app", 1)
    await until(lambda: place.costs("app") == {"app-0": "100"})

    def taken_back() -> bool:
        if place.costs("app")["app-0"] is not None:
            place.cluster.kubectl(
                "annotate", "pod", "app-0", "-n", place.namespace, f"{COST}-", f"{MARK}-"
            )
        return len(place.written("/pods/app-0")) >= 5

    await until(taken_back, 60)
    times = place.written("/pods/app-0")
    # After the third time in a row it rests for 2 s at least.
    assert times[4] - times[3] >= 2.0, times


async def test_a_deleted_policy_is_told_no_more(place: Place) -> None:
    place.policy("app", most=1)
    place.pods("app", 2)
    await until(lambda: b"spillover_unit_over_max{" in place.series.text())
    await until(lambda: set(place.costs("app").values()) == {"100", "-100"})
    place.cluster.kubectl("delete", f"resourcepolicy.{scenes.ACK}", "app", "-n", place.namespace)
    await until(lambda: b'policy="app"' not in place.series.text())
    await until(lambda: set(place.costs("app").values()) == {None})


async def test_a_policy_made_anew_gets_a_status_of_its_own(place: Place) -> None:
    place.policy("app")
    place.pods("app", 2)
    await until(lambda: place.status("app").get("pods") == 2)
    for most in (5, 6, 7):
        place.cluster.kubectl(
            "delete", f"resourcepolicy.{scenes.ACK}", "app", "-n", place.namespace
        )
        place.policy("app", most)
        await until(lambda most=most: place.status("app").get("fill") == f"2/{most} ecs")  # type: ignore[misc]
