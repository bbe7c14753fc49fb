"""The leader ends, in order or not, and the other replica goes on."""

import json
import time
from collections.abc import Iterator
from datetime import datetime
from signal import SIGKILL, SIGTERM, Signals
from typing import Any

import pytest

from harness import scenes
from harness.cluster import NAMESPACE, Cluster, Options, running
from harness.containers import Container, extender
from harness.counts import counted, said
from harness.metrics import total
from harness.stage import clear
from harness.watch import Watch, is_waiting, node_of, scheduled_condition

Object = dict[str, Any]

LEASE_SECONDS = 15.0
EPOCH = "spillover.dev/epoch"


@pytest.fixture(scope="module")
def pair(cluster_name: str) -> Iterator[Cluster]:
    options = Options(scheduler_replicas=2, audit=True)
    with running(Cluster(f"{cluster_name}-pair"), options) as cluster:
        cluster.add_nodes(
            scenes.virtual_node("virtual-0", gpus=0), scenes.node("prepaid-0", gpus=0)
        )
        yield cluster


@pytest.fixture
def namespace(pair: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    words = request.node.name.split("[")[0].replace("_", "-")[:40].rstrip("-")
    name = f"{words}-{time.time_ns() % 9999}"
    pair.kubectl("create", "namespace", name)
    pair.kubectl("wait", "--for=create", "sa/default", "-n", name, "--timeout=60s")
    yield name
    clear(pair, name)
    pair.kubectl("delete", "namespace", name, "--wait=false")


def watching(cluster: Cluster, namespace: str) -> Watch:
    return Watch(cluster, f"/api/v1/namespaces/{namespace}/pods")


def holder(cluster: Cluster) -> str:
    """Which process has the Lease: its Pod's name, and what is new with each start."""
    return cluster.kubectl(
        "get",
        "lease",
        "spillover-scheduler",
        "-n",
        NAMESPACE,
        "-o",
        "jsonpath={.spec.holderIdentity}",
    )


def leader(cluster: Cluster) -> str:
    """The name of the Pod whose scheduler has the Lease."""
    return holder(cluster).rsplit("_", 1)[0]


def end(cluster: Cluster, name: str, number: Signals) -> None:
    """Both containers at once."""
    for container in ("kube-scheduler", "extender"):
        Container(cluster, name, container).send(number)


def limited(namespace: str, name: str, most: int) -> Object:
    unit = {"resource": "eci", "max": most}
    return scenes.policy(scenes.ACK, namespace, name, selector={"app": name}, units=[unit])


def pods(namespace: str, app: str, count: int, first: int = 0) -> list[Object]:
    return [
        scenes.pod(namespace, f"{app}-{n}", "spillover-scheduler", labels={"app": app}, gpus=0)
        for n in range(first, first + count)
    ]


def bound(objects: list[Object]) -> list[Object]:
    return [pod for pod in objects if node_of(pod)]


def waiting_pods(objects: list[Object]) -> int:
    return sum(map(is_waiting, objects))


@pytest.mark.parametrize(
    ("number", "seconds"),
    [(SIGKILL, LEASE_SECONDS + 10), (SIGTERM, 5.0)],
    ids=["killed", "in-order"],
)
def test_scheduling_goes_on_when_the_leader_ends(
    pair: Cluster, namespace: str, number: Signals, seconds: float, slack: float, *, full: bool
) -> None:
    count = 500 if full else 100
    pair.create(limited(namespace, "full", 1), limited(namespace, "free", 1000))
    with watching(pair, namespace) as watch:
        pair.create(*pods(namespace, "full", count + 1))
        watch.wait_for(lambda there: waiting_pods(there) == count, 300, f"{count} pods wait")
        ended = leader(pair)
        end(pair, ended, number)
        begun = time.monotonic()
        pair.create(*pods(namespace, "free", 1))
        watch.wait_for(
            lambda there: len(bound(there)) == 2, seconds * 2 * slack, "a new pod is bound"
        )
        took = time.monotonic() - begun
        print(f"with {count} pods waiting, a pod was bound {took:.1f} s after {ended} ended")
        assert took < seconds * slack
        assert len(bound(list(watch.objects.values()))) == 2
    ready(pair)


def ready(cluster: Cluster) -> None:
    """Both replicas are up again."""
    for replica in (0, 1):
        for name in ("extender", "kube-scheduler"):
            Container(cluster, f"spillover-scheduler-{replica}", name).wait_ready()


@pytest.fixture
def five(pair: Cluster) -> Iterator[list[str]]:
    names = [f"sweep-{time.time_ns() % 9999}-{number}" for number in range(5)]
    for name in names:
        pair.kubectl("create", "namespace", name)
        pair.kubectl("wait", "--for=create", "sa/default", "-n", name, "--timeout=60s")
    yield names
    for name in names:
        clear(pair, name)
        pair.kubectl("delete", "namespace", name, "--wait=false")


def test_the_sweep_opens_policies_one_by_one(
    pair: Cluster, five: list[str], slack: float, *, full: bool
) -> None:
    """In each of five namespaces a policy has one pod on a node, and the others wait. With the
    leader that one is deleted: its place is taken while pods elsewhere have yet to be swept."""
    each = 201 if full else 41
    pair.create(*(limited(name, "app", 1) for name in five))
    with Watch(pair) as watch:
        for name in five:
            pair.create(*pods(name, "app", each))
        waiting = len(five) * (each - 1)
        watch.wait_for(lambda all_: waiting_pods(of(all_, five)) == waiting, 600, f"{waiting} wait")
        first = bound(of(list(watch.objects.values()), five))
        since = len(watch.events)
        end(pair, leader(pair), SIGKILL)
        begun = time.monotonic()
        for pod in first:
            name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
            pair.kubectl("delete", "pod", name, "-n", namespace, "--force", "--wait=false")
        watch.wait_for(
            lambda all_: len(bound(of(all_, five))) == len(five), 120 * slack, "each has its pod"
        )
        watch.wait_for(
            lambda all_: sum(map(is_swept, of(all_, five))) >= waiting, 60, "all are swept"
        )
        print(f"each policy has its pod again {time.monotonic() - begun:.1f} s after the end")
        events = of([pod for kind, pod in watch.events[since:] if kind == "MODIFIED"], five)
    swept = [n for n, pod in enumerate(events) if is_swept(pod) and not node_of(pod)]
    taken = [n for n, pod in enumerate(events) if node_of(pod)]
    assert taken[0] < swept[-1], "no policy was open before all were swept"
    seconds = sweep_seconds(pair)
    print(f"{waiting} pods swept in {seconds:.1f} s")
    assert seconds < 15 * slack
    errors = [
        scheduled_condition(pod)["message"]
        for pod in events
        if "SchedulerError" in str(scheduled_condition(pod))
    ]
    assert errors == [], "filter calls fail during the sweep"
    ready(pair)


def of(objects: list[Object], namespaces: list[str]) -> list[Object]:
    return [each for each in objects if each["metadata"]["namespace"] in namespaces]


def is_swept(pod: Object) -> bool:
    return EPOCH in pod["metadata"].get("annotations", {})


def sweep_seconds(cluster: Cluster) -> float:
    """Of the last sweep, as the extenders' logs tell."""
    found: list[tuple[datetime, float]] = []
    for file in cluster.logs("extender"):
        for line in file.read_text().splitlines():
            if '"swept"' in line and '"seconds"' in line:
                said = json.loads(line)
                found.append((datetime.fromisoformat(said["ts"]), float(said["seconds"])))
    return max(found)[1]


def test_an_extender_that_restarts_loses_no_pod(
    pair: Cluster, namespace: str, slack: float
) -> None:
    count = 200
    pair.create(limited(namespace, "many", 1000))
    beside = extender(pair, int(leader(pair)[-1]))
    with watching(pair, namespace) as watch:
        pair.create(
            scenes.deployment(namespace, "many", "spillover-scheduler", replicas=count, gpus=0)
        )
        watch.wait_for(lambda there: len(bound(there)) >= 20, 60, "some are bound")
        beside.send(SIGKILL)
        before = len(bound(list(watch.objects.values())))
        pause = longest_pause(watch, count, 120)
        print(f"{before} of {count} were bound at the kill; the longest pause was {pause:.1f} s")
        assert before < count - 20, "there was nothing left to do"
        assert pause < 5.0 * slack
    reasons = {scheduled_condition(pod).get("reason") for _, pod in watch.events} - {None}
    assert reasons <= {"SchedulerError"}, reasons
    ready(pair)


def longest_pause(watch: Watch, count: int, seconds: float) -> float:
    """Without another pod bound, until so many are."""
    longest, last, seen = 0.0, time.monotonic(), 0
    begun = last
    while seen < count:
        now, there = time.monotonic(), len(bound(list(watch.objects.values())))
        longest = max(longest, now - last)
        if there > seen:
            last, seen = now, there
        if now - begun > seconds:
            raise TimeoutError(f"{seen} of {count} are bound after {seconds} s")
        time.sleep(0.02)
    return longest


def test_a_pod_placed_at_once_costs_one_write(pair: Cluster, namespace: str) -> None:
    pair.create(limited(namespace, "cheap", 100))
    with watching(pair, namespace) as watch:
        pair.create(*pods(namespace, "cheap", 20))
        watch.wait_for(lambda there: len(bound(there)) == 20, 60, "all are bound")
    ours = [
        entry
        for entry in pair.pod_writes()
        if entry["objectRef"]["namespace"] == namespace
        and entry["user"]["username"].endswith(":spillover-scheduler")
    ]
    assert {entry["objectRef"]["subresource"] for entry in ours} == {"binding"}
    assert len(ours) == len({entry["objectRef"]["name"] for entry in ours}) == 20


def test_the_status_after_a_killed_leader(pair: Cluster, namespace: str, slack: float) -> None:
    """Pods go while nobody leads. The next leader's status is a fresh count."""
    allowed = (LEASE_SECONDS + 10) * slack
    pair.create(limited(namespace, "app", 3))
    pair.create(*pods(namespace, "app", 5))
    found = status_and_count(pair, namespace, 3)
    begun = time.monotonic()
    while found[0] != found[1]:
        assert time.monotonic() - begun < 60, found
        found = status_and_count(pair, namespace, 3)
    first, before = leader(pair), holder(pair)
    assert tellers(pair) == [first]
    end(pair, first, SIGKILL)
    killed = time.monotonic()
    pair.kubectl("delete", "pod", "app-0", "app-4", "-n", namespace, "--wait=false")
    pair.create(*pods(namespace, "app", 4, first=5))  # another number than before
    while True:
        wanted, is_said = status_and_count(pair, namespace, 3)
        late = time.monotonic() - killed
        if wanted == is_said and wanted["units"][0]["assigned"] == 3 and holder(pair) != before:
            break
        assert late < allowed, f"{is_said} should be {wanted}"
    print(f"the status equalled a fresh count {late:.1f} s after the leader was killed")
    assert wanted["pods"] == 7
    Container(pair, first, "extender").wait_ready()
    assert tellers(pair) == [leader(pair)]


def tellers(cluster: Cluster) -> list[str]:
    """Pods that tell the series of units: there may be one only."""
    replicas = [extender(cluster, number) for number in (0, 1)]
    return [each.pod for each in replicas if total(each, "spillover_unit_max")]


def status_and_count(cluster: Cluster, namespace: str, most: int) -> tuple[Object, Object]:
    (policy,) = cluster.items(f"resourcepolicies.{scenes.ACK}", "-n", namespace)
    there = cluster.items("pods", "-n", namespace)
    return counted(policy, there, lambda _: "eci", {"eci": most}), said(policy)
