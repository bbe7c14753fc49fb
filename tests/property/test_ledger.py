"""The ledger against an API server that is slow, forgetful and unordered: no unit ever exceeds its
max, and once everything has settled exactly the live bound pods count."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import ack_policy, leading, node, pod, virtual
from spillover.core.cache.binding_plan import BindingPlan
from spillover.core.cache.cluster import ClusterCache
from spillover.core.cache.ledger import RESERVATION_SECONDS
from spillover.core.decision.outcomes import Placement
from spillover.core.model.conventions import NodeConventions
from spillover.core.model.pods import UNIT_ANNOTATION, Pod
from spillover.core.model.policy import UnitKey
from spillover.core.scheduler import Scheduler

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
        self.sent: list[BindingPlan] = []
        self.awaited: list[BindingPlan] = []
        self.open_questions: list[BindingPlan] = []
        self.fence_answers: list[tuple[BindingPlan, Pod | None]] = []
        self.scheduler = leading(
            Scheduler(
                ClusterCache(NodeConventions(), lambda: self.now, lambda: self.now, lambda: 0.5)
            )
        )
        self.scheduler.cluster.put_node(virtual("vk"))
        self.scheduler.cluster.put_node(node("real"))
        self.scheduler.cluster.put_policy(POLICY)

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
        for plan in self.awaited:
            yield partial(self.give_up, plan)
        for plan in self.sent:
            yield partial(self.execute_binding, plan)
        for plan in self.open_questions:
            yield partial(self.execute_fence, plan)
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
        if self.scheduler.obstacle(seen):
            return
        decision = self.scheduler.place(seen, offered)
        if isinstance(decision, Placement):
            assert decision.unit_key is not None
            assert self.scheduler.cluster.ledger.usage(decision.unit_key, "").pods <= MAX

    def bind(self, uid: str, on: str) -> None:
        plan = self.scheduler.plan_binding(uid, on)
        if isinstance(plan, BindingPlan):
            self.sent.append(plan)
            self.awaited.append(plan)

    # --- the API server and the extender's questions to it --------------------------------------

    def give_up(self, plan: BindingPlan) -> None:
        """The answer is lost, or too late."""
        self.awaited.remove(plan)
        self.open_questions.append(plan)
        self.scheduler.cluster.ledger.outcome_unknown(plan.pod.uid, plan.flight, plan.pod.version)

    def execute_binding(self, plan: BindingPlan) -> None:
        self.sent.remove(plan)
        uid = plan.pod.uid
        before = self.truth.get(uid)
        commits = before is not None and before.version == plan.pod.version and not before.node
        if before is not None and commits:
            annotations = {**before.annotations, **plan.annotations}
            self.write(uid, replace(before, node=plan.node, annotations=annotations))
        if plan in self.awaited:
            self.awaited.remove(plan)
            self.answer(plan, bound=commits)

    def execute_fence(self, plan: BindingPlan) -> None:
        self.open_questions.remove(plan)
        found = self.truth.get(plan.pod.uid)
        if found is not None and not found.node:
            self.write(found.uid, found)
            found = self.truth[found.uid]
        self.fence_answers.append((plan, found))

    def deliver_fence_answer(self, answer: tuple[BindingPlan, Pod | None]) -> None:
        self.fence_answers.remove(answer)
        plan, found = answer
        if found is not None:
            self.scheduler.cluster.learn(found)
        self.answer(plan, bound=found is not None and found.node == plan.node)

    def answer(self, plan: BindingPlan, *, bound: bool) -> None:
        tell = (
            self.scheduler.cluster.ledger.bound
            if bound
            else self.scheduler.cluster.ledger.not_bound
        )
        tell(plan.pod.uid, plan.flight)

    # --- time and the watch ---------------------------------------------------------------------

    def let_reservations_expire(self) -> None:
        self.now += RESERVATION_SECONDS

    def deliver(self, count: int) -> None:
        for uid, version, after in self.unseen[:count]:
            if after is None:
                self.scheduler.cluster.drop_pod(uid, version)
            else:
                self.scheduler.cluster.put_pod(after)
        del self.unseen[:count]

    def relist(self) -> None:
        """The watch broke: a list of the present stands for the events that were not delivered."""
        for each in self.truth.values():
            self.scheduler.cluster.put_pod(each)
        self.scheduler.cluster.keep_pods(set(self.truth), self.version)
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
        for plan in self.awaited:
            self.answer(plan, bound=False)
        for plan in self.open_questions:
            found = self.truth.get(plan.pod.uid)
            self.answer(plan, bound=found is not None and bool(found.node))
        for answer in list(self.fence_answers):
            self.deliver_fence_answer(answer)
        self.deliver(len(self.unseen))
        self.let_reservations_expire()
        assert self.scheduler.cluster.ledger.reservations() == 0
        for name, unit in UNIT_OF.items():
            taken = self.scheduler.cluster.ledger.usage(UnitKey(POLICY.key, unit.identity), "").pods
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
