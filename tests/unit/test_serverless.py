"""Pods that ask for serverless capacity by label, without a policy."""

import pytest

from builders import PROVIDER, ack_policy, leading, node, pod
from spillover.core.cache import serverless
from spillover.core.cache.cluster import ClusterCache
from spillover.core.decision.outcomes import Placement
from spillover.core.model.conventions import NodeConventions
from spillover.core.model.nodes import Node
from spillover.core.model.pods import Pod
from spillover.core.scheduler import Scheduler

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
def scheduler() -> Scheduler:
    made = leading(
        Scheduler(ClusterCache(NodeConventions(), lambda: 0.0, lambda: 0.0, lambda: 0.0))
    )
    for each in (virtual("a", "hz"), virtual("b", "sh"), virtual("any"), node("real")):
        made.cluster.put_node(each)
    return made


def place(scheduler: Scheduler, who: Pod) -> set[str] | str:
    decision = scheduler.place(who, ["a", "b", "any", "real", "c"])
    if isinstance(decision, Placement):
        return set(decision.nodes)
    return decision.reasons["real"]


def test_they_go_to_virtual_nodes_only(scheduler: Scheduler) -> None:
    assert place(scheduler, asking()) == {"a", "b", "any"}
    assert place(scheduler, pod(labels={"alibabacloud.com/eci": "true"})) == {"a", "b", "any"}
    assert place(scheduler, pod(labels={"alibabacloud.com/eci": "false"})) == {"real"}


def test_a_region_narrows_to_the_nodes_of_that_region(scheduler: Scheduler) -> None:
    assert place(scheduler, asking(region="sh")) == {"b"}
    assert place(scheduler, asking(region="nowhere")) == (
        "node(s) belong to no unit of ResourcePolicy serverless-nowhere"
    )


def test_a_policy_that_selects_them_comes_first(scheduler: Scheduler) -> None:
    scheduler.cluster.put_policy(ack_policy({"resource": "ecs"}))
    assert place(scheduler, asking(app="app")) == {"real"}
    assert place(scheduler, asking(app="other")) == {"a", "b", "any"}


def test_what_the_binding_says(scheduler: Scheduler) -> None:
    who = asking(region="sh")
    scheduler.cluster.put_pod(who)
    place(scheduler, who)
    claim = scheduler.plan_binding("pod", "b")
    assert not isinstance(claim, str)
    assert claim.labels == {}
    assert claim.annotations["spillover.dev/policy"] == "spillover.dev/serverless-sh"


def test_nodes_of_many_regions_are_not_kept_for_ever(scheduler: Scheduler) -> None:
    for number in range(serverless.MOST_REGIONS + 5):
        place(scheduler, asking(region=f"region-{number}"))
    assert "belong to no unit" in place(scheduler, asking(region="region-0"))
    scheduler.cluster.put_node(virtual("c", "region-0"))
    assert place(scheduler, asking(region="region-0")) == {"c"}


def test_regions_are_waited_for_apart(scheduler: Scheduler) -> None:
    for name, region in (("one", "x"), ("two", "y")):
        labels = {"alibabacloud.com/acs": "true", REGION: region}
        scheduler.cluster.put_pod(pod(name, labels=labels))
        scheduler.place(pod(name, labels=labels), ["a"])
    scheduler.cluster.put_node(
        Node("a", {"type": "virtual-kubelet", "topology.kubernetes.io/region": "y"}, ())
    )
    assert [each.name for each in scheduler.due_nudges()] == ["two"]


def test_namespaces_opt_in_where_the_cluster_says_so() -> None:
    conventions = NodeConventions(serverless_namespaces=("serverless", "allowed"))
    scheduler = leading(Scheduler(ClusterCache(conventions, lambda: 0.0, lambda: 0.0, lambda: 0.0)))
    for each in (virtual("any"), node("real")):
        scheduler.cluster.put_node(each)
    assert place(scheduler, asking()) == {"real"}  # as any pod
    scheduler.cluster.put_namespace("other", {"serverless": "allowed"})
    assert place(scheduler, asking()) == {"real"}
    scheduler.cluster.put_namespace("ns", {"serverless": "allowed"})
    assert place(scheduler, asking()) == {"any"}
    scheduler.cluster.put_namespace("ns", {"serverless": "denied"})
    assert place(scheduler, asking()) == {"real"}
    scheduler.cluster.put_namespace("ns", {"serverless": "allowed"})
    scheduler.cluster.keep_namespaces(frozenset({"other"}))
    assert place(scheduler, asking()) == {"real"}
