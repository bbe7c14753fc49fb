"""The ledger against an API server that is slow, forgetful and unordered: no unit ever exceeds its
max, and once everything has settled exactly the live bound pods count."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import ack_policy, leading, node, pod, virtual
from spillover.core.cache import SchedulingCache
from spillover.core.claims import Claim
from spillover.core.conventions import NodeConventions
from spillover.core.ledger import RESERVATION_SECONDS
from spillover.core.pods import UNIT_ANNOTATION, Pod
from spillover.core.policy import UnitKey
from spillover.core.verdicts import Placement

PODS = 3
MAX = 1
POLICY = ack_policy({"resource": "eci", "max": MAX}, {"resource": "ecs", "max": MAX})
UNIT_OF = {"vk": POLICY.units[0], "real": POLICY.units[1]}

Step = Callable[[], None]


class Model:
    """`truth` is what the API server holds; `unseen` are its events that the watch has yet to
    deliver. `sent` are Bindings on their way, `awaited` those among all sent that the extender
    still waits for; the others are `open_questions` until a fence for them is executed, whose
    answer (was it bound?) is again delivered later."""

    def __init__(self) -> None:
        self.now = 0.0
        self.version = 10
        self.created = 0
        self.truth: dict[str, Pod] = {}
        self.born: dict[str, Pod] = {}
        self.unseen: list[tuple[str, int, Pod | None]] = []
        self.sent: list[Claim] = []
        self.awaited: list[Claim] = []
        self.open_questions: list[Claim] = []
        self.fence_answers: list[tuple[Claim, Pod | None]] = []
        self.cache = leading(
            SchedulingCache(NodeConventions(), lambda: self.now, lambda: self.now, lambda: 0.5)
        )
        self.cache.put_node(virtual("vk"))
        self.cache.put_node(node("real"))
        self.cache.put_policy(POLICY)

    def steps(self) -> Iterator[Step]:
        """Everything that can happen next."""
        if len(self.truth) < PODS:
            yield self.create
        for each in list(self.truth.values()):
            yield partial(self.write, each.uid, None)
            if each.node and not each.finished:
                yield partial(self.write, each.uid, replace(each, finished=True))
            if not each.node:
                yield partial(self.write, each.uid, replace(each, refusal=f"at {self.version}"))
                yield partial(self.filter, each, ("vk",))
                yield partial(self.filter, each, ("vk", "real"))
            # The scheduler's view may be old: it may not know yet that the pod is bound.
            yield partial(self.filter, self.born[each.uid], ("vk",))
            yield partial(self.bind, each.uid, "vk")
            yield partial(self.bind, each.uid, "real")
        for claim in self.awaited:
            yield partial(self.give_up, claim)
        for claim in self.sent:
            yield partial(self.execute_binding, claim)
        for claim in self.open_questions:
            yield partial(self.execute_fence, claim)
        for answer in self.fence_answers:
            yield partial(self.deliver_fence_answer, answer)
        if self.unseen:
            yield partial(self.deliver, 1)
            yield partial(self.deliver, 2)
            yield self.relist
        yield self.let_reservations_expire

    # --- users, kubelets and the scheduler ------------------------------------------------------

    def write(self, uid: str, after: Pod | None) -> None:
        self.version += 1
        if after is None:
            del self.truth[uid]
        else:
            after = self.truth[uid] = replace(after, version=self.version)
        self.unseen.append((uid, self.version, after))

    def create(self) -> None:
        self.created += 1
        uid = f"pod-{self.created}"
        self.write(uid, pod(uid))
        self.born[uid] = self.truth[uid]

    def filter(self, seen: Pod, offered: tuple[str, ...]) -> None:
        if self.cache.obstacle(seen):
            return
        decision = self.cache.place(seen, offered)
        if isinstance(decision, Placement):
            assert decision.unit_key is not None
            assert self.cache.ledger.usage(decision.unit_key, "").pods <= MAX

    def bind(self, uid: str, on: str) -> None:
        claim = self.cache.claim(uid, on)
        if isinstance(claim, Claim):
            self.sent.append(claim)
            self.awaited.append(claim)

    # --- the API server and the extender's questions to it --------------------------------------

    def give_up(self, claim: Claim) -> None:
        """The answer is lost, or too late."""
        self.awaited.remove(claim)
        self.open_questions.append(claim)
        self.cache.ledger.outcome_unknown(claim.pod.uid, claim.flight, claim.pod.version)

    def execute_binding(self, claim: Claim) -> None:
        self.sent.remove(claim)
        uid = claim.pod.uid
        before = self.truth.get(uid)
        commits = before is not None and before.version == claim.pod.version and not before.node
        if before is not None and commits:
            annotations = {**before.annotations, **claim.annotations}
            self.write(uid, replace(before, node=claim.node, annotations=annotations))
        if claim in self.awaited:
            self.awaited.remove(claim)
            self.answer(claim, bound=commits)

    def execute_fence(self, claim: Claim) -> None:
        self.open_questions.remove(claim)
        found = self.truth.get(claim.pod.uid)
        if found is not None and not found.node:
            self.write(found.uid, found)
            found = self.truth[found.uid]
        self.fence_answers.append((claim, found))

    def deliver_fence_answer(self, answer: tuple[Claim, Pod | None]) -> None:
        self.fence_answers.remove(answer)
        claim, found = answer
        if found is not None:
            self.cache.learn(found)
        self.answer(claim, bound=found is not None and found.node == claim.node)

    def answer(self, claim: Claim, *, bound: bool) -> None:
        tell = self.cache.ledger.bound if bound else self.cache.ledger.not_bound
        tell(claim.pod.uid, claim.flight)

    # --- time and the watch ---------------------------------------------------------------------

    def let_reservations_expire(self) -> None:
        self.now += RESERVATION_SECONDS

    def deliver(self, count: int) -> None:
        for uid, version, after in self.unseen[:count]:
            if after is None:
                self.cache.drop_pod(uid, version)
            else:
                self.cache.put_pod(after)
        del self.unseen[:count]

    def relist(self) -> None:
        """The watch broke: a list of the present stands for the events that were not delivered."""
        for each in self.truth.values():
            self.cache.put_pod(each)
        self.cache.keep_pods(set(self.truth), self.version)
        self.unseen.clear()

    # --- what must hold -------------------------------------------------------------------------

    def live_on(self, name: str) -> list[Pod]:
        return [each for each in self.truth.values() if each.node == name and not each.finished]

    def check(self) -> None:
        for name, unit in UNIT_OF.items():
            there = self.live_on(name)
            assert len(there) <= MAX, f"{len(there)} pods on {name}"
            assert all(each.annotations[UNIT_ANNOTATION] == unit.identity for each in there)

    def settle(self) -> None:
        """What is on its way is lost, everything else arrives."""
        for claim in self.awaited:
            self.answer(claim, bound=False)
        for claim in self.open_questions:
            found = self.truth.get(claim.pod.uid)
            self.answer(claim, bound=found is not None and bool(found.node))
        for answer in list(self.fence_answers):
            self.deliver_fence_answer(answer)
        self.deliver(len(self.unseen))
        self.let_reservations_expire()
        assert self.cache.ledger.reservations() == 0
        for name, unit in UNIT_OF.items():
            taken = self.cache.ledger.usage(UnitKey(POLICY.key, unit.identity), "").pods
            assert taken == len(self.live_on(name))


@pytest.mark.timeout(1800)  # of the full count
def test_no_order_of_events_makes_the_ledger_wrong(*, full: bool) -> None:
    @settings(max_examples=20_000 if full else 4_000, deadline=None)
    @given(st.lists(st.integers(0, 2**16), min_size=20, max_size=60))
    def explore(choices: list[int]) -> None:
        model = Model()
        for choice in choices:
            steps = list(model.steps())
            steps[choice % len(steps)]()
            model.check()
        model.settle()

    explore()
