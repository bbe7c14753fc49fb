"""An answer that is given again is the one that would be found anew, after any order of events."""

from collections import Counter
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from builders import ack_policy, leading, node, pod, tolerating, virtual, vke_policy
from spillover.api.kubernetes import Taint
from spillover.core.cache.binding_plan import BindingPlan
from spillover.core.cache.cluster import ClusterCache
from spillover.core.decision.demand import demand_of
from spillover.core.decision.outcomes import Placement, Rejected
from spillover.core.decision.placement import decide
from spillover.core.model.conventions import NodeConventions
from spillover.core.model.nodes import Names
from spillover.core.model.workloads import Workload
from spillover.core.scheduler import Scheduler

NODES = ["a", "b", "vk"]
OFFERED = (NODES, ["a", "b"], ["a", "unknown"])
UIDS = [f"pod-{number}" for number in range(6)]
OWNER = "deployment"
UNITS: tuple[dict[str, Any], ...] = (
    {"resource": "ecs", "nodeSelector": {"pool": "a"}},
    {"resource": "ecs"},
    {"resource": "eci"},
)
MORE: tuple[dict[str, Any], ...] = (
    {},
    {},
    {"whenTryNextUnits": {"policy": "LackResourceAndNoTerminating"}},
    {"matchLabelKeys": ["group"]},
    {"preemptPolicy": "BeforeNextUnit"},
)
LIMITS: tuple[dict[str, Any], ...] = (
    {"maxReplicas": 0},
    {"maxReplicas": 1},
    {"maxReplicasRatio": "0.5"},
)
STEPS = 60


class Turmoil:
    """Pods are asked for, bound and deleted; more rarely nodes, policies and workloads change.
    `seen` counts the answers."""

    def __init__(self, seed: int, seen: Counter[str]) -> None:
        self._chance = Random(seed)
        self._seen = seen
        self._version = 0
        self._answers: list[object] = []
        self.scheduler = leading(
            Scheduler(ClusterCache(NodeConventions(), lambda: 0.0, lambda: 0.0, lambda: 0.5))
        )
        for name in NODES:
            self.scheduler.cluster.put_node(virtual(name) if name == "vk" else node(name, pool="a"))
        self._ack()
        self._vke()

    def step(self) -> None:
        rare = (self._node, self._node_goes, self._ack, self._vke, self._workload)
        often = (self._bound, self._leaves, self._gone, self._gone)
        draw = self._chance.random()
        if draw < 0.6:
            self._asked()
        else:
            self._chance.choice(rare if draw < 0.7 else often)()

    def _node(self) -> None:
        name = self._chance.choice(NODES)
        taints = self._chance.choice([[], [Taint("team", "x", "NoSchedule")]])
        pool = self._chance.choice(["a", "b"])
        self.scheduler.cluster.put_node(
            virtual(name, *taints) if name == "vk" else node(name, taints, pool=pool)
        )

    def _node_goes(self) -> None:
        self.scheduler.cluster.drop_node(self._chance.choice(NODES))

    def _ack(self) -> None:
        units = self._chance.sample(UNITS, self._chance.randint(1, 3))
        cpu: dict[str, Any] = self._chance.choice([{}, {"maxResources": {"cpu": "1"}}])
        limits: list[dict[str, Any]] = [{}, {"max": 0}, {"max": 1}, {"max": 2}]
        chosen = [{**unit, **self._chance.choice(limits), **cpu} for unit in units]
        self.scheduler.cluster.put_policy(ack_policy(*chosen, **self._chance.choice(MORE)))

    def _vke(self) -> None:
        """The owner's policy, beside the other one."""
        subset = {"name": "a", "type": "ecs", **self._chance.choice(LIMITS)}
        strategy = self._chance.choice(["prefer", "require"])
        self.scheduler.cluster.put_policy(
            vke_policy(subset, name="ratio", selector={"app": "ratio"}, strategy=strategy)
        )

    def _workload(self) -> None:
        replicas = self._chance.choice([None, 0, 2, 4])
        if replicas is None:
            self.scheduler.cluster.drop_workload(OWNER)
        else:
            self.scheduler.cluster.put_workload(Workload("deployments", OWNER, "ns", replicas, ""))

    def _asked(self) -> None:
        uid, offered = self._chance.choice(UIDS), list(self._chance.choice(OFFERED))
        known = self.scheduler.cluster.pod(uid)
        if known is not None and known.node:
            return
        self._version += 1
        owned = self._chance.random() < 0.3
        group = self._chance.choice([{}, {"group": "x"}, {"group": "y"}])
        one = pod(
            uid,
            version=self._version,
            labels={"app": "ratio" if owned else "app", **group},
            tolerations=self._chance.choice([(), tolerating("team").tolerations]),
            requests=self._chance.choice([(), (("cpu", 1000),)]),
            owner=OWNER if owned else "",
            priority=self._chance.choice([0, 5]),
        )
        self.scheduler.cluster.put_pod(one)
        if self.scheduler.obstacle(one):
            return
        # What earlier answers have begun, and what was granted, is another pod's question.
        self.scheduler.cluster.attempts.forget(uid)
        self.scheduler.cluster.ledger.let_go(uid)
        cluster = self.scheduler.cluster
        policy = cluster.policy_of(one)
        fresh = decide(one.uid, demand_of(one, policy), Names(offered), policy, cluster.view())
        answer = self.scheduler.place(one, offered)
        self._seen[type(fresh).__name__] += 1
        if isinstance(fresh, Rejected):
            assert answer == fresh
            self._seen["again"] += any(answer is each for each in self._answers)
            self._answers.append(answer)
        else:
            assert isinstance(answer, Placement)
            assert answer.nodes == fresh.nodes

    def _bound(self) -> None:
        uid = self._chance.choice(UIDS)
        plan = self.scheduler.plan_binding(uid, self._chance.choice(NODES))
        if not isinstance(plan, BindingPlan):
            return
        if self._chance.random() < 0.2:
            self.scheduler.cluster.ledger.not_bound(uid, plan.flight)
        else:
            self._version += 1
            self.scheduler.cluster.ledger.bound(uid, plan.flight)
            self.scheduler.cluster.put_pod(replace(plan.flight.lands, version=self._version))

    def _leaves(self) -> None:
        known = self.scheduler.cluster.pod(self._chance.choice(UIDS))
        if known is not None and known.node:
            self._version += 1
            self.scheduler.cluster.put_pod(replace(known, version=self._version, terminating=True))

    def _gone(self) -> None:
        self._version += 1
        self.scheduler.cluster.drop_pod(self._chance.choice(UIDS), self._version)


@pytest.mark.timeout(1200)
def test_answers_that_are_given_again(*, full: bool) -> None:
    seen: Counter[str] = Counter()
    for seed in range(10_000 if full else 600):
        turmoil = Turmoil(seed, seen)
        for step in range(STEPS):
            try:
                turmoil.step()
            except AssertionError as error:
                raise AssertionError(f"seed {seed}, step {step}") from error
    print(dict(seen))
    assert min(seen[each] for each in ("Rejected", "Placement")) > 1000
    assert seen["again"] > 500, "answers that were kept"
