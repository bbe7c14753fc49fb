"""How many requests Spillover sends to the API server for each pod: counted, and not timed."""

import time
from collections import Counter
from collections.abc import Iterator

import pytest

from harness.cluster import Cluster, Options, running
from harness.scenes import ACK, node, pod, policy
from harness.watch import Watch, node_of

SCHEDULER = "spillover-scheduler"
PODS = 60
MOST_EVENTS = 1.6
"""For each pod: the scheduler's, and ours for each pod that does not get the first unit."""
MOST_OTHERS = 0.4
"""Of what is not for each pod: the epoch, looks at certificates."""


@pytest.fixture
def watched(cluster_name: str) -> Iterator[Cluster]:
    with running(Cluster(f"{cluster_name}-requests"), Options(rights=True)) as cluster:
        yield cluster


@pytest.mark.timeout(300)
def test_requests_for_each_pod(watched: Cluster) -> None:
    watched.add_nodes(*(node(f"{name}-0", labels={"pool": name}) for name in ("a", "b")))
    units = [
        {"resource": "ecs", "nodeSelector": {"pool": "a"}, "max": PODS // 2},
        {"resource": "ecs", "nodeSelector": {"pool": "b"}},
    ]
    watched.create(policy(ACK, "default", "app", selector={"app": "app"}, units=units))
    with Watch(watched, "/api/v1/namespaces/default/pods") as pods:
        before, begun = writes(watched), time.monotonic()
        watched.create(
            *(pod("default", f"app-{n}", SCHEDULER, labels={"app": "app"}, gpus=0)
              for n in range(PODS))
        )  # fmt: skip
        pods.wait_for(lambda found: sum(map(bool, map(node_of, found))) == PODS, 60, "all bound")
        placed = Counter(node_of(each) for each in pods.objects.values())
        assert placed == {"a-0": PODS // 2, "b-0": PODS // 2}
        pods.wait_quiet(3, 60)
    found = writes(watched) - before
    print(f"{sum(found.values()) / PODS:.2f} requests for each pod: {dict(found)}")
    assert found.pop("create pods/binding") == PODS
    assert PODS <= found.pop("create events") < MOST_EVENTS * PODS
    # The status is written up to once a second, however many pods there are.
    assert found.pop("patch resourcepolicies/status") <= 2 + time.monotonic() - begun
    assert sum(found.values()) < MOST_OTHERS * PODS, found


def writes(cluster: Cluster) -> Counter[str]:
    """Of Spillover's accounts so far, by verb and resource. Leases are renewed without any pod."""
    found: Counter[str] = Counter()
    for request in cluster.requests():
        where = request.get("objectRef", {})
        resource = "/".join(filter(None, (where.get("resource"), where.get("subresource"))))
        if request["verb"] not in ("watch", "list") and resource != "leases":
            found[f"{request['verb']} {resource}"] += 1
    return found
