"""The status of a policy: it equals a fresh count, whatever happened, and says what is wrong."""

import time
from random import Random
from typing import Any

import pytest

from harness.counts import counted, said
from harness.scenes import ACK, VKE, deployment, node, pod, policy, virtual_node
from harness.stage import Scene, answered
from harness.watch import is_live, node_of

Object = dict[str, Any]
WITHIN_SECONDS = 2.0
OURS = "spillover-scheduler"
TERMS = {
    pool: [{"key": "pool", "operator": "In", "values": [pool]}] for pool in ("prepaid", "postpaid")
}
KINDS = {"prepaid": "ecs", "virtual": "vci", "postpaid": "ecs"}


class Turmoil:
    """Random operations on one policy, its Deployment and bare pods. A unit is named after the
    first part of its nodes' names."""

    def __init__(self, scene: Scene, chance: Random) -> None:
        self.scene = scene
        self.chance = chance
        self.limits = {"prepaid": -1, "virtual": 3, "postpaid": -1}
        self.number = 0
        self.scene.add(self.policy(), deployment(scene.namespace, "app", OURS))
        self.replicas = 0

    def policy(self) -> Object:
        subsets = [
            {
                "name": name,
                "type": KINDS[name],
                **({"nodeSelectorTerm": TERMS[name]} if name in TERMS else {}),
                **({"maxReplicas": most} if most >= 0 else {}),
            }
            for name, most in self.limits.items()
        ]
        return policy(
            VKE, self.scene.namespace, "app", selector={"app": "app"}, strategy="require",
            subsets=subsets,
        )  # fmt: skip

    def step(self) -> str:
        operation = self.chance.choice(
            [self.create, self.delete, self.scale, self.scale, self.edit, self.edit, self.recreate]
        )
        return operation()

    def create(self) -> str:
        pods = []
        for _ in range(self.chance.randint(1, 3)):
            self.number += 1
            name = f"bare-{self.number}"
            pods.append(pod(self.scene.namespace, name, OURS, labels={"app": "app"}))
        self.scene.add(*pods)
        return f"create {len(pods)}"

    def delete(self) -> str:
        there = sorted(p["metadata"]["name"] for p in self.scene.pods.objects.values())
        chosen = self.chance.sample(there, min(len(there), self.chance.randint(1, 3)))
        if chosen:
            self.scene.cluster.kubectl(
                "delete", "pod", *chosen, "-n", self.scene.namespace, "--wait=false",
                "--ignore-not-found",
            )  # fmt: skip
        return f"delete {len(chosen)}"

    def scale(self) -> str:
        self.replicas = self.chance.randint(0, 12)
        self.scene.scale("app", self.replicas)
        return f"scale to {self.replicas}"

    def edit(self) -> str:
        names = list(KINDS)
        self.chance.shuffle(names)
        kept = names[: self.chance.choice([2, 3, 3])]
        self.limits = {name: self.chance.choice([-1, 0, 1, 2, 4]) for name in kept}
        self.scene.cluster.apply(self.policy())
        return f"edit to {self.limits}"

    def recreate(self) -> str:
        name = f"resourcepolicy.{VKE}"
        self.scene.cluster.kubectl("delete", name, "app", "-n", self.scene.namespace)
        self.scene.add(self.policy())
        return "policy deleted and created"

    def is_done(self, pods: list[Object]) -> bool:
        """What was asked for has begun everywhere."""
        owned = [p for p in pods if p["metadata"].get("ownerReferences") and is_live(p)]
        return len(owned) == self.replicas

    def fresh(self) -> tuple[Object, Object, bool]:
        """The status as it should be, and as it is; whether the last operation is done."""
        pods = self.scene.cluster.items("pods", "-n", self.scene.namespace)
        (found,) = self.scene.cluster.items(f"resourcepolicies.{VKE}", "-n", self.scene.namespace)
        wanted = counted(found, pods, lambda each: node_of(each).partition("-")[0], self.limits)
        return wanted, said(found), self.is_done(pods)


@pytest.mark.timeout(3000)
def test_it_equals_a_fresh_count_after_each_of_many_operations(
    scene: Scene, slack: float, *, full: bool
) -> None:
    operations = 500 if full else 15
    scene.add_nodes(
        node("prepaid-0", gpus=3, labels={"pool": "prepaid"}), virtual_node("virtual-0", gpus=9),
        node("postpaid-0", gpus=3, labels={"pool": "postpaid"}),
    )  # fmt: skip
    seed = 8 if not full else time.time_ns() % 10**6
    print(f"seed {seed}")
    turmoil = Turmoil(scene, Random(seed))
    latest = []
    for number in range(operations):
        what = turmoil.step()
        latest.append(settle(turmoil, f"{number}: {what}", slack))
    print(
        f"{operations} operations: the status equalled a fresh count"
        f" {max(latest):.1f} s after the last change at the latest"
    )


def settle(turmoil: Turmoil, what: str, slack: float) -> float:
    """Returns how long after the last change of what is to be counted the status was equal."""
    allowed = WITHIN_SECONDS * slack
    wanted: Object = {}
    since = begun = time.monotonic()
    while True:
        asked = time.monotonic()
        now, is_said, done = turmoil.fresh()
        if now != wanted:
            wanted, since = now, asked
        if now == is_said and done:
            return asked - since
        assert now == is_said or asked - since < allowed, f"{what}: {is_said}, should be {now}"
        assert asked - begun < 60, f"{what}: not done"


def test_invalid_conflicting_and_well(scene: Scene) -> None:
    scene.add_nodes(node("prepaid-0", gpus=2))
    unit = {"resource": "ecs", "max": 1}
    spec = {"selector": {"app": "app"}, "units": [unit]}
    scene.add(policy(ACK, scene.namespace, "old", **spec))
    scene.add_unchecked(policy(ACK, scene.namespace, "wrong", **{**spec, "strategy": "no"}))
    scene.add(policy(ACK, scene.namespace, "young", **{**spec, "selector": {"tier": "x"}}))
    both = {"app": "app", "tier": "x"}
    scene.add(pod(scene.namespace, "one", OURS, labels=both))
    scene.pods.wait_for(answered(1), 60, "bound")
    wait_for_condition(scene, "old", "Ready=True")
    wait_for_condition(scene, "young", "Conflict=True")
    wait_for_condition(scene, "wrong", "Invalid=True")
    wait_for_condition(scene, "wrong", "Ready=False")
    found = {
        each["metadata"]["name"]: {c["type"]: c for c in each["status"]["conditions"]}
        for each in scene.cluster.items(f"resourcepolicies.{ACK}", "-n", scene.namespace)
    }
    assert f"{ACK}/old" in found["young"]["Conflict"]["message"]
    assert found["young"]["Ready"]["status"] == "True"  # in force for other pods
    assert "spec.strategy" in found["wrong"]["Invalid"]["message"]
    assert found["old"]["Conflict"]["status"] == "False"
    scene.cluster.kubectl("delete", f"resourcepolicy.{ACK}", "old", "-n", scene.namespace)
    message = '{.status.conditions[?(@.type=="Conflict")].message}'
    scene.cluster.kubectl(  # an invalid one holds its pods back, too
        "wait", f"resourcepolicy.{ACK}", "young", "-n", scene.namespace, "--timeout=30s",
        f"--for=jsonpath={message}=these are older and win: {ACK}/wrong",
    )  # fmt: skip
    scene.cluster.kubectl("delete", f"resourcepolicy.{ACK}", "wrong", "-n", scene.namespace)
    wait_for_condition(scene, "young", "Conflict=False")


def wait_for_condition(scene: Scene, name: str, condition: str) -> None:
    scene.cluster.kubectl(
        "wait", f"resourcepolicy.{ACK}", name, "-n", scene.namespace,
        f"--for=condition={condition}", "--timeout=30s",
    )  # fmt: skip


def test_a_status_that_somebody_else_has_written_is_mended(scene: Scene) -> None:
    scene.add(policy(ACK, scene.namespace, "app", selector={"app": "app"},
                     units=[{"resource": "ecs"}]))  # fmt: skip
    wait_for_condition(scene, "app", "Ready=True")
    scene.cluster.kubectl(
        "patch", f"resourcepolicy.{ACK}", "app", "-n", scene.namespace, "--subresource=status",
        "--type=merge", "-p", '{"status": {"pods": 99}}',
    )  # fmt: skip
    scene.cluster.kubectl(
        "wait", f"resourcepolicy.{ACK}", "app", "-n", scene.namespace,
        "--for=jsonpath={.status.pods}=0", "--timeout=30s",
    )  # fmt: skip


def test_what_kubectl_shows(scene: Scene) -> None:
    scene.add_nodes(node("prepaid-0", gpus=9), virtual_node("virtual-0"))
    units = [{"resource": "eci", "max": 2}, {"resource": "ecs"}]
    scene.add(policy(ACK, scene.namespace, "app", selector={"app": "app"}, units=units))
    scene.add(deployment(scene.namespace, "app", OURS, replicas=7))
    scene.pods.wait_for(answered(7), 60, "all bound")
    kind = f"resourcepolicies.{ACK}"
    scene.cluster.kubectl(
        "wait", kind, "app", "-n", scene.namespace, "--for=jsonpath={.status.ready}=7",
        "--timeout=30s",
    )  # fmt: skip
    shown = scene.cluster.kubectl("get", kind, "-n", scene.namespace).splitlines()
    assert shown[0].split() == ["NAME", "STRATEGY", "UNITS", "PODS", "PENDING", "READY", "AGE"]
    assert shown[1].split()[:6] == ["app", "prefer", "2", "7", "0", "7"]
    wide = scene.cluster.kubectl("get", kind, "-n", scene.namespace, "-o", "wide")
    assert "2/2 eci, 5/∞ ecs" in wide
