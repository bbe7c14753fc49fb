"""Where a pod goes: the pure decision."""

from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import pytest

from builders import PROVIDER, ack_policy, node, pod, raw, tolerating, virtual, vke_policy
from spillover.api import ack
from spillover.api.kubernetes import Taint
from spillover.core.decision.demand import demand_of
from spillover.core.decision.limits import Usage
from spillover.core.decision.outcomes import Placement, Rejected
from spillover.core.decision.placement import ClusterView, Decision, decide
from spillover.core.dialects import load
from spillover.core.model.conventions import NodeConventions
from spillover.core.model.nodes import Names, Node, NodeIndex
from spillover.core.model.pods import Pod
from spillover.core.model.policy import LoadedPolicy, Policy, PolicyKey, UnitKey

TEAM = Taint("team", "ml", "NoSchedule")
PREPAID = {"resource": "ecs", "nodeSelector": {"pool": "prepaid"}}
POSTPAID = {"resource": "ecs", "nodeSelector": {"pool": "postpaid"}}
ECI = {"resource": "eci"}
NODES = [
    node("pre-1", pool="prepaid"),
    node("pre-2", pool="prepaid"),
    virtual("vk"),
    node("post-1", pool="postpaid"),
    node("other"),
]
ALL = [each.name for each in NODES]


@dataclass
class Fill:
    """A ledger with given counts."""

    counts: dict[str, int] = field(default_factory=dict)

    def usage(self, unit: UnitKey, besides: str) -> Usage:
        assert besides == "pod"
        return Usage(self.counts.get(unit.unit, 0))

    def has_terminating(self, policy: PolicyKey, unit: str) -> bool:  # noqa: ARG002 - a view's
        return False


class Nobody:
    """No workloads, and no pods to preempt."""

    def is_known(self, owner: str) -> bool:  # noqa: ARG002 - a view's
        return False

    def desired(self, policy: PolicyKey) -> int:  # noqa: ARG002 - a view's
        return 0

    def has_below(self, priority: int, names: Set[str]) -> bool:  # noqa: ARG002 - a view's
        return False


def choose(
    policy: LoadedPolicy | None,
    offered: Sequence[str] = ALL,
    nodes: Sequence[Node] = NODES,
    who: Pod | None = None,
    **counts: int,
) -> Decision:
    index = NodeIndex(NodeConventions())
    for each in nodes:
        index.put(each)
    units = policy.units if isinstance(policy, Policy) else ()
    fill = {units[int(number.removeprefix("u"))].identity: n for number, n in counts.items()}
    view = ClusterView(Fill(fill), index, Nobody(), Nobody(), now=0.0)
    who = who or pod()
    return decide(who.uid, demand_of(who, policy), Names(offered), policy, view)


def place(decision: Decision) -> tuple[str | None, set[str]]:
    assert isinstance(decision, Placement), decision
    return (decision.unit.title if decision.unit else None), set(decision.nodes)


def reasons(decision: Decision) -> dict[str, str]:
    assert isinstance(decision, Rejected), decision
    return dict(decision.reasons)


def tiers(**spec: Any) -> Policy:
    return ack_policy(PREPAID, {**ECI, "max": 2}, POSTPAID, **spec)


def test_the_first_unit_with_an_offered_node_wins() -> None:
    assert place(choose(tiers())) == ("ecs(pool=prepaid)", {"pre-1", "pre-2"})
    assert place(choose(tiers(), ["pre-2", "vk"])) == ("ecs(pool=prepaid)", {"pre-2"})
    assert place(choose(tiers(), ["vk", "post-1"])) == ("eci", {"vk"})
    assert place(choose(tiers(), ["post-1", "other"])) == ("ecs(pool=postpaid)", {"post-1"})


def test_a_unit_at_its_max_is_passed_over() -> None:
    assert place(choose(tiers(), ["vk", "post-1"], u1=1)) == ("eci", {"vk"})
    assert place(choose(tiers(), ["vk", "post-1"], u1=2)) == ("ecs(pool=postpaid)", {"post-1"})
    assert place(choose(tiers(), ["vk", "post-1"], u1=3)) == ("ecs(pool=postpaid)", {"post-1"})


def test_a_max_of_zero_admits_nobody() -> None:
    policy = ack_policy({**ECI, "max": 0})
    assert reasons(choose(policy, ["vk"])) == {"vk": "eci is at its max of 0"}


def test_every_offered_node_gets_its_reason() -> None:
    tainted = node("post-1", [TEAM], pool="postpaid")
    nodes = [*NODES[:3], tainted, NODES[4]]
    offered = ["vk", "post-1", "other", "new"]
    assert reasons(choose(tiers(), offered, nodes, u1=2)) == {
        "vk": "eci is at its max of 2",
        "post-1": "node(s) had untolerated taint(s)",
        "other": "node(s) belong to no unit of ResourcePolicy policy",
        "new": "node(s) not known to Spillover yet",
    }


def test_a_node_of_two_exhausted_units_gives_both_reasons() -> None:
    policy = ack_policy({**ECI, "max": 1}, {"resource": "acs", "max": 2})
    assert reasons(choose(policy, ["vk"], u0=1, u1=2)) == {
        "vk": "eci is at its max of 1 and acs is at its max of 2"
    }


def test_reasons_do_not_tell_counts() -> None:
    assert choose(tiers(), ["vk"], u1=2) == choose(tiers(), ["vk"], u1=7)


def test_without_a_policy_only_taints_count() -> None:
    assert place(choose(None)) == (None, {"pre-1", "pre-2", "post-1", "other"})
    assert reasons(choose(None, ["vk"])) == {"vk": "node(s) had untolerated taint(s)"}
    assert reasons(choose(None, ["new"])) == {"new": "node(s) not known to Spillover yet"}
    assert place(choose(None, ["vk"], who=tolerating(PROVIDER.key))) == (None, {"vk"})


def test_provider_taints_are_seen_past_only_by_virtual_units_on_virtual_nodes() -> None:
    posing = node("posing", [PROVIDER], pool="prepaid")
    assert reasons(choose(tiers(), ["posing"], [posing])) == {
        "posing": "node(s) had untolerated taint(s)"
    }
    assert place(choose(tiers(), ["vk"])) == ("eci", {"vk"})


@pytest.mark.parametrize("effect", ["NoSchedule", "NoExecute"])
def test_other_taints_of_a_virtual_node_count(effect: str) -> None:
    other = Taint("node.kubernetes.io/not-ready", "", effect)
    nodes = [virtual("vk", other)]
    assert reasons(choose(tiers(), ["vk"], nodes)) == {"vk": "node(s) had untolerated taint(s)"}
    assert place(choose(tiers(), ["vk"], nodes, tolerating(other.key))) == ("eci", {"vk"})


def test_a_unit_whose_nodes_are_all_tainted_is_passed_over() -> None:
    nodes = [node("pre-1", [TEAM], pool="prepaid"), *NODES[1:]]
    assert place(choose(tiers(), ["pre-1", "vk"], nodes)) == ("eci", {"vk"})
    assert place(choose(tiers(), ["pre-1", "pre-2", "vk"], nodes)) == (
        "ecs(pool=prepaid)",
        {"pre-2"},
    )


def test_an_open_policy_lets_pods_onto_nodes_of_no_subset() -> None:
    term = {"key": "pool", "operator": "In", "values": ["prepaid"]}
    subset = {"name": "base", "type": "ecs", "maxReplicas": 1, "nodeSelectorTerm": [term]}
    policy = vke_policy(subset)
    assert place(choose(policy)) == ("base", {"pre-1", "pre-2"})
    assert place(choose(policy, u0=1)) == (None, {"post-1", "other"})
    assert reasons(choose(policy, ["pre-1", "vk"], u0=1)) == {
        "pre-1": "base is at its max of 1",
        "vk": "node(s) had untolerated taint(s)",
    }
    closed = vke_policy(subset, strategy="require")
    assert reasons(choose(closed, ["pre-1", "other"], u0=1)) == {
        "pre-1": "base is at its max of 1",
        "other": "node(s) belong to no unit of ResourcePolicy policy",
    }


def test_an_invalid_policy_places_nothing() -> None:
    policy = load(raw("broken", {"units": [{"resource": "ecs", "max": -1}]}), ack.GROUP)
    assert reasons(choose(policy, ["other"])) == {
        "other": "ResourcePolicy broken is invalid: spec.units[0].max: must not be negative, is -1"
    }


def test_nothing_offered_is_rejected_without_reasons() -> None:
    assert reasons(choose(tiers(), [])) == {}
    assert reasons(choose(None, [])) == {}
