"""Taking over on a real API server, which a proxy stands in front of."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from random import Random
from typing import Any

import pytest

from builders import ack_policy, virtual
from harness.cluster import Cluster
from harness.proxy import Answer, Fate, Proxy, Request, Treatment
from spillover.controller.leading import Leading
from spillover.controller.sweep import Sweep
from spillover.core.cache.cluster import ClusterCache
from spillover.core.model.conventions import NodeConventions
from spillover.core.model.pods import EPOCH_ANNOTATION, POLICY_ANNOTATION, UNIT_ANNOTATION
from spillover.core.model.policy import Policy, UnitKey
from spillover.core.scheduler import Scheduler
from spillover.core.takeover import DRAINED, OPEN, EpochRecord, Lease, Tenure
from spillover.kube.epochs import NAME, Epochs
from spillover.kube.readiness import Readiness
from spillover.kube.session import ApiSession
from spillover.kube.signals import Signal
from subject import Subject, always, through_a_proxy

Object = dict[str, Any]
SCHEDULER = "nobody"  # of the subjects: no other takes them


@dataclass
class Place:
    """An extender without watches: it knows what it lists. The namespace is also that of the epoch
    object."""

    cluster: Cluster
    namespace: str
    proxy: Proxy
    session: ApiSession
    policy: Policy
    scheduler: Scheduler
    leading: Leading
    epochs: Epochs

    def subject(self, name: str, **fields: Any) -> Subject:
        return Subject(self.cluster, self.namespace, name, labels={"app": "app"}, **fields)

    def taken(self) -> int:
        key = UnitKey(self.policy.key, self.policy.units[0].identity)
        return self.scheduler.cluster.ledger.usage(key, besides="").pods

    @asynccontextmanager
    async def leads(self) -> AsyncIterator[None]:
        running = asyncio.create_task(self.leading.run())
        try:
            yield
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    def record(self) -> Object:
        found: Object = json.loads(
            self.cluster.kubectl("get", "configmap", NAME, "-n", self.namespace, "-o", "json")
        )
        return found


@pytest.fixture
async def place(bare_cluster: Cluster, namespace: str, tmp_path: Path) -> AsyncIterator[Place]:
    policy = ack_policy({"resource": "eci", "max": 1})
    policy = replace(policy, key=policy.key._replace(namespace=namespace))
    clock = asyncio.get_running_loop().time
    async with through_a_proxy(bare_cluster, tmp_path) as (proxy, session):
        conventions = NodeConventions(schedulers=frozenset({SCHEDULER}))
        scheduler = Scheduler(ClusterCache(conventions, clock, clock, lambda: 0.5))
        scheduler.cluster.put_node(virtual("node-0"))
        scheduler.cluster.put_policy(policy)
        changed, chance = Signal(), Random(1)
        tenure = Tenure("us", clock, clock)
        lease = Lease("us_1", 0.0, inf, inf)
        tenure.see(lease)

        async def read_lease() -> Lease:
            return lease

        sweep = Sweep(scheduler.cluster, session, [SCHEDULER], changed, clock, chance)
        epochs = Epochs(session, namespace)
        leading = Leading(
            scheduler.cluster,
            tenure,
            epochs,
            sweep,
            changed,
            Readiness([]),
            read_lease,
            "us",
            "me",
            clock,
            chance,
        )
        yield Place(bare_cluster, namespace, proxy, session, policy, scheduler, leading, epochs)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what changes tells nobody
            await asyncio.sleep(0.05)


def epoch_of(subject: Subject) -> str:
    return str(subject.now()["metadata"].get("annotations", {}).get(EPOCH_ANNOTATION, ""))


async def test_a_takeover_sweeps_opens_and_says_so(place: Place) -> None:
    one = place.subject("one")
    async with place.leads():
        await until(lambda: place.scheduler.cluster.term.is_open)
        await until(lambda: place.record()["data"]["state"] == OPEN)
    assert epoch_of(one) == str(place.scheduler.cluster.term.epoch)


async def test_what_the_one_before_has_bound_counts_though_no_watch_has_shown_it(
    place: Place,
) -> None:
    await place.epochs.write(EpochRecord("them", "they", None, DRAINED), None)
    one = place.subject("one")
    unit = place.policy.units[0].identity
    annotations = {POLICY_ANNOTATION: str(place.policy.key), UNIT_ANNOTATION: unit}
    order = one.order(annotations=annotations)
    body = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": "one", "namespace": place.namespace, "annotations": annotations},
        "target": {"kind": "Node", "name": "node-0"},
    }
    await place.session.request("POST", f"{order.path}/binding", body=body)
    async with place.leads():
        await until(lambda: place.scheduler.cluster.term.is_open)
        assert place.taken() == 1


async def test_a_patch_that_is_undone_is_none(place: Place) -> None:
    """Something answers 200 and changes nothing, such as an admission webhook that reverts it."""
    one = place.subject("one")
    untouched = json.dumps(one.now())

    def undone(request: Request) -> Treatment:
        return Answer(200, untouched) if request.method == "PATCH" else Fate.PASS

    place.proxy.fate = undone
    async with place.leads():
        await until(lambda: place.scheduler.cluster.term.is_open)
        assert [pod.name for pod in place.scheduler.cluster.ledger.doubted()] == ["one"]
        assert place.taken() == 1
        place.proxy.fate = always(Fate.PASS)
        await until(lambda: not place.scheduler.cluster.ledger.doubted())
        assert place.taken() == 0
    assert epoch_of(one) == str(place.scheduler.cluster.term.epoch)


@pytest.mark.parametrize("written", ["9" * 15, "9" * 5000, "tomorrow"])
async def test_an_epoch_that_a_user_has_written_is_overwritten(place: Place, written: str) -> None:
    before = place.subject("before", annotations={EPOCH_ANNOTATION: written})
    async with place.leads():
        await until(lambda: place.scheduler.cluster.term.is_open)
        epoch = str(place.scheduler.cluster.term.epoch)
        assert epoch_of(before) == epoch


async def test_who_is_outpaced_before_the_last_pass_starts_anew(place: Place) -> None:
    """Somebody else takes over between our first write and the one before the last pass."""
    place.subject("one")
    writes: list[str] = []

    def outpaced(request: Request) -> Treatment:
        if request.method in ("PUT", "POST") and "configmaps" in request.path:
            writes.append(json.loads(request.body)["data"]["state"])
            if len(writes) == 2:
                patch = json.dumps({"data": {"process": "they", "state": OPEN}})
                place.cluster.kubectl(
                    "patch", "configmap", NAME, "-n", place.namespace, "--type=merge", "-p", patch
                )
        return Fate.PASS

    place.proxy.fate = outpaced
    async with place.leads():
        await until(lambda: place.scheduler.cluster.term.is_open)
        await until(lambda: place.record()["data"]["process"] == "me")
    assert writes == ["sweeping", "sweeping", "sweeping", "sweeping", "open"]


async def test_who_stops_in_order_says_that_nothing_is_under_way(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with place.leads():
        await until(lambda: "leading" in caplog.messages)
        await place.leading.stop(10)
    assert place.record()["data"]["state"] == DRAINED
    assert place.scheduler.cluster.term.epoch == 0
