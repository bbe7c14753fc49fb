"""Edits of policies, within their namespace's share of time."""

from collections.abc import Iterator

from worlds import World

from builders import ack_policy, leading, node, pod
from spillover.core.cache.cluster import ClusterCache
from spillover.core.cache.edits import BURST_SECONDS, SHARE, TOLD_SECONDS, Edits, PolicyEdits
from spillover.core.decision.outcomes import Placement, Rejected
from spillover.core.decision.reasons import EDITS_PENDING
from spillover.core.model.conventions import NodeConventions
from spillover.core.model.policy import Policy, PolicyKey
from spillover.core.reporting.status import report
from spillover.core.scheduler import Scheduler


class Place:
    """Where edits are taken in, each batch of which takes `cost` seconds, in so many steps."""

    def __init__(self, cost: float, steps: int = 1) -> None:
        self.now = 1000.0
        self.cost = cost
        self.taken: list[tuple[str, Edits]] = []
        self.told: list[str] = []
        self.steps = steps
        self.edits = PolicyEdits(
            self._take, lambda _: steps == 1, self.told.append, lambda: self.now
        )

    def _take(self, namespace: str, edits: Edits) -> Iterator[None]:
        for step in range(self.steps):
            self.now += self.cost / self.steps
            if step:
                yield
        self.taken.append((namespace, dict(edits)))


def of(namespace: str, name: str = "policy") -> Policy:
    made = ack_policy({"resource": "ecs"}, name=name)
    return Policy(
        key=made.key._replace(namespace=namespace), uid=name, created=made.created,
        selector=made.selector, units=made.units,
    )  # fmt: skip


def key(namespace: str, name: str = "policy") -> PolicyKey:
    return of(namespace, name).key


def test_a_few_edits_are_taken_in_at_once() -> None:
    place = Place(cost=0.01)
    for number in range(50):
        place.edits.edit(key("ns", f"p{number}"), of("ns", f"p{number}"))
    assert len(place.taken) == 50
    assert not place.edits.is_pending("ns")
    assert place.told == []


def test_those_of_one_namespace_wait_and_come_together() -> None:
    place = Place(cost=2 * BURST_SECONDS)
    place.edits.edit(key("other"), of("other"))
    place.edits.edit(key("ns"), of("ns"))
    place.edits.edit(key("ns"), of("ns"))
    for name in ("a", "b", "a"):
        place.edits.edit(key("ns", name), of("ns", name))
    place.edits.edit(key("ns", "b"), None)
    assert [namespace for namespace, _ in place.taken] == ["other", "ns"]
    assert place.edits.is_pending("ns")
    assert place.edits.pending_keys(key("ns").group) == {
        key("ns"), key("ns", "a"), key("ns", "b")
    }  # fmt: skip
    assert place.edits.pending(key("ns", "a")) == of("ns", "a")
    assert place.edits.pending(key("ns", "b")) is None
    assert not place.edits.take_in_due()
    place.now += BURST_SECONDS / SHARE
    assert place.edits.take_in_due()
    assert place.taken[-1] == (
        "ns",
        {key("ns"): of("ns"), key("ns", "a"): of("ns", "a"), key("ns", "b"): None},
    )
    assert not place.edits.is_pending("ns")


def test_those_of_a_large_namespace_are_taken_in_slice_by_slice() -> None:
    place = Place(cost=0.1, steps=100)
    place.edits.edit(key("ns"), of("ns"))
    assert place.told == []
    longest, slices = 0.0, 0
    while place.edits.is_pending("ns"):
        before = place.now
        assert place.edits.take_in_due()
        longest, slices = max(longest, place.now - before), slices + 1
        if slices == 3:  # this one comes too late for the batch under way
            place.edits.edit(key("ns", "late"), of("ns", "late"))
    assert longest < 0.01
    assert slices > 20
    assert [set(edits) for _, edits in place.taken] == [{key("ns")}, {key("ns", "late")}]
    assert not place.edits.take_in_due()


def test_who_takes_over_in_the_middle_of_a_slice_knows_all() -> None:
    place = Place(cost=0.1, steps=100)
    place.edits.edit(key("ns"), of("ns"))
    place.edits.take_in_due()
    assert place.taken == []
    place.edits.take_in_all()
    assert len(place.taken) == 1
    assert not place.edits.is_pending("ns")


def test_no_pod_is_placed_while_an_edit_is_taken_in() -> None:
    world = World([ack_policy({"resource": "ecs"})], [node("node")])
    for number in range(500):
        world.put(f"there-{number}", node="node")
    one = world.put("one")
    world.cluster.put_policy(ack_policy({"resource": "ecs", "max": 3}))
    slices = 0
    while world.cluster.edits.is_pending("ns"):
        assert world.filter(one, "node") == EDITS_PENDING
        assert isinstance(world.scheduler.plan_binding("one", "node"), str)
        world.cluster.edits.take_in_due()
        slices += 1
    assert slices
    assert world.filter(one, "node") == "ecs is at its max of 3"


def test_a_namespace_uses_no_more_than_its_share() -> None:
    place = Place(cost=0.3)
    begun = place.now
    for _ in range(2000):
        place.edits.edit(key("ns"), of("ns"))
        place.edits.take_in_due()
        place.now += 0.05
    used = len(place.taken) * place.cost
    assert used <= BURST_SECONDS + SHARE * (place.now - begun) + 2 * place.cost
    assert used >= SHARE * (place.now - begun) / 2


def test_it_is_told_and_then_told_no_more() -> None:
    place = Place(cost=2 * BURST_SECONDS)
    for _ in range(3):
        place.edits.edit(key("ns"), of("ns"))
    assert place.edits.is_over("ns")
    assert place.told == ["ns"]
    place.now += TOLD_SECONDS
    place.edits.take_in_due()
    assert not place.edits.is_over("ns")
    assert place.told == ["ns", "ns"]


def test_who_takes_over_knows_all() -> None:
    place = Place(cost=2 * BURST_SECONDS)
    for namespace in ("a", "b"):
        for _ in range(2):
            place.edits.edit(key(namespace), of(namespace))
    assert len(place.taken) == 2
    place.edits.take_in_all()
    assert len(place.taken) == 4
    assert not place.edits.is_pending("a")


def test_no_pod_is_placed_past_a_policy_that_waits() -> None:
    now = [0.0]

    def clock() -> float:
        now[0] += 0.4  # each look at the clock: an edit takes long here
        return now[0]

    scheduler = leading(Scheduler(ClusterCache(NodeConventions(), clock, lambda: 0.0, lambda: 0.5)))
    policy = ack_policy({"resource": "ecs"})
    scheduler.cluster.put_node(node("node"))
    number = 0
    while not scheduler.cluster.edits.is_pending("ns"):
        number += 1
        scheduler.cluster.put_policy(ack_policy({"resource": "ecs", "max": number}))
        assert number < 100
    put_off = scheduler.place(pod(), ["node"])
    assert isinstance(put_off, Rejected)
    assert put_off.causes == {EDITS_PENDING}
    assert isinstance(scheduler.place(pod("two", namespace="other"), ["node"]), Placement)
    # The same words as before, and no slot held.
    assert scheduler.place(pod(version=2), ["node"]) == put_off
    assert scheduler.plan_binding("pod", "node") == EDITS_PENDING
    assert scheduler.due_nudges() == []
    known = scheduler.cluster.policies.get(policy.key)
    assert isinstance(known, Policy)
    assert report(scheduler.cluster, known).edits_wait
    now[0] += 100
    assert scheduler.cluster.edits.take_in_due()
    assert [each.uid for each in scheduler.due_nudges()] == ["pod"]
    assert isinstance(scheduler.place(pod(version=3), ["node"]), Placement)
    found = scheduler.cluster.policies.get(policy.key)
    assert isinstance(found, Policy)
    assert found.units[0].max == number
