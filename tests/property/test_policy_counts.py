"""Counts that are kept up pod by pod equal a count of all pods, after any order of events; and so
do the costs and delays that are wanted of pods."""

from dataclasses import replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from builders import ack_policy, leading, node, pod, virtual
from spillover.api.labels import DELETION_COST
from spillover.core.cache.cluster import ClusterCache
from spillover.core.cache.deletion_cost import COST_MARK, MISPLACED, STEP
from spillover.core.cache.policy_index import counted
from spillover.core.model.conventions import NodeConventions
from spillover.core.model.pods import POLICY_ANNOTATION, UNIT_ANNOTATION, Pod
from spillover.core.model.policy import Policy
from spillover.core.model.resources import amount_of
from spillover.core.reporting.desired_annotations import DesiredAnnotations
from spillover.core.reporting.scale_up import DELAY, OUR_DELAY
from spillover.core.reporting.status import report
from spillover.core.scheduler import Scheduler

NAMES = ("one", "two", "three")
NODES = ("prepaid", "real", "vk")
UNITS: tuple[dict[str, Any], ...] = (
    {"resource": "ecs", "nodeSelector": {"pool": "prepaid"}},
    {"resource": "eci"},
    {"resource": "ecs"},
)


class Turmoil(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.version = 0
        self.scheduler = leading(
            Scheduler(ClusterCache(NodeConventions(), lambda: 0.0, lambda: 0.0, lambda: 0.5))
        )
        self.pods: dict[str, Pod] = {}
        self.policies: dict[str, Policy] = {}
        self.upkeep = DesiredAnnotations(self.scheduler.cluster)
        self.wanted: dict[str, dict[str, str | None]] = {}

    @initialize()
    def nodes(self) -> None:
        self.scheduler.cluster.put_node(node("prepaid", pool="prepaid"))
        self.scheduler.cluster.put_node(node("real"))
        self.scheduler.cluster.put_node(virtual("vk"))

    @rule(
        name=st.sampled_from(NAMES),
        units=st.permutations(range(3)),
        kept=st.integers(1, 3),
        cpu=st.sampled_from([None, "2", "4"]),
        limits=st.lists(st.sampled_from([None, 0, 1, 2]), min_size=3, max_size=3),
        selector=st.sampled_from([{"app": "app"}, {"tier": "x"}, {}]),
        age=st.integers(0, 9),
        terminating=st.booleans(),
    )
    def put_policy(
        self, name: str, units: list[int], kept: int, limits: list[int | None],
        selector: dict[str, str], age: int, cpu: str | None, *, terminating: bool,
    ) -> None:  # fmt: skip
        chosen = [
            {
                **UNITS[number],
                **({} if most is None else {"max": most}),
                **({} if cpu is None else {"maxResources": {"cpu": cpu}}),
            }
            for number, most in zip(units[:kept], limits, strict=False)
        ]
        created = (
            self.policies[name].created if name in self.policies else f"2026-01-01T00:00:0{age}Z"
        )
        made = ack_policy(*chosen, name=name, selector=selector, ignoreTerminatingPod=terminating)
        policy = replace(made, created=created, selector=selector)
        self.policies[name] = policy
        self.scheduler.cluster.put_policy(policy)

    @rule(name=st.sampled_from(NAMES))
    def drop_policy(self, name: str) -> None:
        policy = self.policies.pop(name, None)
        if policy is not None:
            self.scheduler.cluster.drop_policy(policy.key)

    @rule(
        uid=st.sampled_from("abcdef"),
        app=st.booleans(),
        tier=st.booleans(),
        on=st.sampled_from(["", *NODES]),
        by=st.sampled_from(["", *NAMES]),
        unit=st.integers(0, 2),
        finished=st.booleans(),
        terminating=st.booleans(),
        ready=st.booleans(),
        cost=st.sampled_from(["", "ours", "own"]),
        held=st.booleans(),
        refused=st.booleans(),
        cpu=st.sampled_from([0, 1000, 3000]),
    )  # fmt: skip
    def put_pod(
        self, uid: str, on: str, by: str, unit: int, cost: str, cpu: int, *, app: bool,
        tier: bool, finished: bool, terminating: bool, ready: bool, held: bool, refused: bool,
    ) -> None:  # fmt: skip
        annotations = {DELAY: OUR_DELAY} if held else {}
        known = self.pods.get(uid)
        on = known.node or on if known is not None else on  # a pod never leaves its node
        placer = self.policies.get(by)
        if on and by:
            # Also of a policy that is gone, and of a unit that it has no more.
            units = placer.units if placer is not None else ack_policy(UNITS[unit]).units
            annotations[POLICY_ANNOTATION] = f"scheduling.alibabacloud.com/{by}"
            annotations[UNIT_ANNOTATION] = units[unit % len(units)].identity
        if cost:
            annotations[DELETION_COST] = "7"
            annotations[COST_MARK] = "7" if cost == "ours" else "8"
        self.version += 1
        labels = {**({"app": "app"} if app else {}), **({"tier": "x"} if tier else {})}
        one = pod(
            uid, version=self.version, labels=labels, node=on, annotations=annotations,
            finished=finished, terminating=terminating, ready=ready, started=ready,
            refusal="Unschedulable: x" if refused and not on else "",
            requests=(("cpu", cpu),) if cpu else (), created=f"2026-01-01T00:00:0{ord(uid) % 10}Z",
        )  # fmt: skip
        self.pods[uid] = self._believed(one, known)
        self.scheduler.cluster.put_pod(one)

    def _believed(self, one: Pod, known: Pod | None) -> Pod:
        """A bound pod counts where it did, whatever its marks say by now."""
        if known is None or not known.node:
            return one
        marks = (POLICY_ANNOTATION, UNIT_ANNOTATION)
        before, now = ({key: each.annotations.get(key) for key in marks} for each in (known, one))
        kept = {key: value for key, value in before.items() if value is not None}
        others = {key: value for key, value in one.annotations.items() if key not in marks}
        return replace(one, annotations={**others, **kept}, is_moved=before != now)

    @rule(uid=st.sampled_from("abcdef"))
    def drop_pod(self, uid: str) -> None:
        if self.pods.pop(uid, None) is not None:
            self.version += 1
            self.scheduler.cluster.drop_pod(uid, self.version)

    @rule(uid=st.sampled_from("abcdef"), on=st.sampled_from(NODES))
    def placed(self, uid: str, on: str) -> None:
        """Filter answers, and a slot is reserved."""
        one = self.pods.get(uid)
        if one is not None and not (one.node or one.finished or one.terminating):
            self.scheduler.place(one, [on])

    @rule(uid=st.sampled_from("abcdef"))
    def reservation_ends(self, uid: str) -> None:
        self.scheduler.cluster.ledger.release(uid)

    @rule(name=st.sampled_from(NODES), there=st.booleans())
    def node_changes(self, name: str, *, there: bool) -> None:
        if not there:
            self.scheduler.cluster.drop_node(name)
        else:
            self.scheduler.cluster.put_node(
                virtual(name) if name == "vk" else node(name, pool=name)
            )

    @invariant()
    def counts_are_right(self) -> None:
        for policy in self.policies.values():
            said = report(self.scheduler.cluster, policy)
            live = [pod for pod in self.pods.values() if not pod.finished]
            homes = {pod.uid: self.scheduler.cluster.home_of(pod) for pod in live if pod.node}
            mine = [pod for pod in live if pod.node and homes[pod.uid].policy == policy]
            for unit, told in zip(policy.units, said.units, strict=True):
                here = [pod for pod in mine if homes[pod.uid].unit == unit]
                staying = [pod for pod in here if not pod.terminating]
                assert told.count.assigned == len(staying)
                assert told.count.ready == sum(pod.ready for pod in staying)
                assert told.count.pending == sum(not pod.started for pod in staying)
                assert told.count.terminating == len(here) - len(staying)
                used = sum(counted(pod, homes[pod.uid]).slot.unit is not None for pod in here)
                assert told.used == used
                for name, (taken, _) in told.resources.items():
                    amounts = [
                        dict(pod.requests).get(name, 0)
                        for pod in here
                        if counted(pod, homes[pod.uid]).slot.unit is not None
                    ]
                    assert amount_of(name, taken) == sum(amounts)
            elsewhere = [pod for pod in mine if homes[pod.uid].unit is None]
            assert said.outside.assigned == sum(not pod.terminating for pod in elsewhere)
            waiting = [pod for pod in live if not (pod.node or pod.terminating)]
            unbound = [pod for pod in waiting if self.scheduler.cluster.policy_of(pod) == policy]
            assert said.unscheduled == len(unbound)

    @invariant()
    def what_has_changed_is_looked_at(self) -> None:
        """Looking at what is said to have changed leads where looking at everything does."""
        self.scheduler.due_nudges()  # also tells of slots that have become free
        changes = self.scheduler.cluster.dirty
        for key in changes.take_policies():
            self.upkeep.look(key)
        for uid in changes.take_pods(1000):
            now = self.scheduler.cluster.pod(uid)
            if now is not None:
                self.wanted[uid] = self.upkeep.wanted(now)
        fresh = DesiredAnnotations(self.scheduler.cluster)
        for policy in self.policies.values():
            fresh.look(policy.key)
        for uid, one in self.pods.items():
            assert self.wanted[uid] == fresh.wanted(one), uid
        changes.take_pods(1000)  # those that the second look has marked
        self.costs_keep_the_order()

    def costs_keep_the_order(self) -> None:
        for policy in self.policies.values():
            for number, unit in enumerate(policy.units):
                here = [
                    pod
                    for pod in self.pods.values()
                    if pod.node and not (pod.finished or pod.terminating)
                    and self.scheduler.cluster.home_of(pod).unit == unit
                    and self.scheduler.cluster.home_of(pod).policy == policy
                ]  # fmt: skip
                costs = [
                    {**pod.annotations, **self.wanted[pod.uid]}.get(DELETION_COST)
                    for pod in here
                    if pod.annotations.get(DELETION_COST) is None
                ]
                rank = str(STEP * (len(policy.units) - number))
                assert set(costs) <= {rank, str(MISPLACED)}
                if unit.max is None and not unit.max_resources:
                    assert str(MISPLACED) not in costs


TestTurmoil = Turmoil.TestCase
TestTurmoil.settings = settings(max_examples=400, stateful_step_count=25, deadline=None)
