"""Pods that ask for serverless capacity by label, without a policy."""

import pytest

from builders import PROVIDER, ack_policy, leading, node, pod
from spillover.core import serverless
from spillover.core.cache import SchedulingCache
from spillover.core.conventions import NodeConventions
from spillover.core.nodes import Node
from spillover.core.pods import Pod
from spillover.core.verdicts import Placement

REGION = "alibabacloud.com/serverless-region-id"


def virtual(name: str, region: str = "") -> Node:
    labels = {"type": "virtual-kubelet"}
    if region:
        labels["topology.kubernetes.io/region"] = region
    return Node(name, labels, (PROVIDER,))


def asking(**labels: str) -> Pod:
    named = {REGION: labels.pop("region")} if "region" in labels else {}
    return pod(labels={"alibabacloud.com/acs": "true", **named, **labels})


@pytest.fixture
def cache() -> SchedulingCache:
    cache = leading(SchedulingCache(NodeConventions(), lambda: 0.0, lambda: 0.0, lambda: 0.0))
    for each in (virtual("a", "hz"), virtual("b", "sh"), virtual("any"), node("real")):
        cache.put_node(each)
    return cache


def place(cache: SchedulingCache, who: Pod) -> set[str] | str:
    decision = cache.place(who, ["a", "b", "any", "real", "c"])
    if isinstance(decision, Placement):
        return set(decision.nodes)
    return decision.reasons["real"]


def test_they_go_to_virtual_nodes_only(cache: SchedulingCache) -> None:
    assert place(cache, asking()) == {"a", "b", "any"}
    assert place(cache, pod(labels={"alibabacloud.com/eci": "true"})) == {"a", "b", "any"}
    assert place(cache, pod(labels={"alibabacloud.com/eci": "false"})) == {"real"}


def test_a_region_narrows_to_the_nodes_of_that_region(cache: SchedulingCache) -> None:
    assert place(cache, asking(region="sh")) == {"b"}
    assert place(cache, asking(region="nowhere")) == (
        "node(s) belong to no unit of ResourcePolicy serverless-nowhere"
    )


def test_a_policy_that_selects_them_comes_first(cache: SchedulingCache) -> None:
    cache.put_policy(ack_policy({"resource": "ecs"}))
    assert place(cache, asking(app="app")) == {"real"}
    assert place(cache, asking(app="other")) == {"a", "b", "any"}


def test_what_the_binding_says(cache: SchedulingCache) -> None:
    who = asking(region="sh")
    cache.put_pod(who)
    place(cache, who)
    claim = cache.claim("pod", "b")
    assert not isinstance(claim, str)
    assert claim.labels == {}
    assert claim.annotations["spillover.dev/policy"] == "spillover.dev/serverless-sh"


def test_nodes_of_many_regions_are_not_kept_for_ever(cache: SchedulingCache) -> None:
    for number in range(serverless.MOST_REGIONS + 5):
        place(cache, asking(region=f"region-{number}"))
    assert "belong to no unit" in place(cache, asking(region="region-0"))
    cache.put_node(virtual("c", "region-0"))
    assert place(cache, asking(region="region-0")) == {"c"}


def test_regions_are_waited_for_apart(cache: SchedulingCache) -> None:
    for name, region in (("one", "x"), ("two", "y")):
        labels = {"alibabacloud.com/acs": "true", REGION: region}
        cache.put_pod(pod(name, labels=labels))
        cache.place(pod(name, labels=labels), ["a"])
    cache.put_node(Node("a", {"type": "virtual-kubelet", "topology.kubernetes.io/region": "y"}, ()))
    assert [each.name for each in cache.due_nudges()] == ["two"]
