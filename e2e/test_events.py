"""What Events tell, of pods and of policies."""

import json
from collections import Counter
from typing import Any

from harness.containers import extender
from harness.metrics import total, wait_unchanged
from harness.scenes import ACK, deployment, node, policy, virtual_node
from harness.stage import Scene, answered
from harness.watch import Watch, is_live, is_ready

Object = dict[str, Any]
OURS = "spillover.dev/extender"
WRITES = "spillover_events_total"
DELAY = "cluster-autoscaler.kubernetes.io/pod-scale-up-delay"


def told(events: list[Object]) -> Counter[tuple[str, str, str]]:
    """Our Events, by the kind of object, reason and note."""
    return Counter(
        (each["regarding"]["kind"], each["reason"], each.get("note", ""))
        for each in events
        if each.get("reportingController") == OURS
    )


def watching(scene: Scene) -> Watch:
    return Watch(scene.cluster, f"/apis/events.k8s.io/v1/namespaces/{scene.namespace}/events")


def test_spills_a_maximum_and_no_capacity(scene: Scene) -> None:
    scene.add_nodes(node("real-0", gpus=1), virtual_node("virtual-0"))
    units = [{"resource": "ecs"}, {"resource": "eci", "max": 1}]
    with watching(scene) as events:
        scene.add(policy(ACK, scene.namespace, "app", selector={"app": "app"}, units=units))
        scene.add(deployment(scene.namespace, "app", "spillover-scheduler", replicas=4))
        scene.pods.wait_for(answered(4), 60, "all answered")
        why = "ecs has no free node; eci is at its max of 1"
        wanted = {
            ("Pod", "SpilledOver", "goes to eci: ecs has no free node"): 1,
            ("Pod", "NoCapacity", f"no unit takes the pod: {why}"): 2,
            ("ResourcePolicy", "SpilledOver", "pods go to eci: ecs has no free node"): 1,
            ("ResourcePolicy", "UnitAtMax", "eci is at its max of 1"): 1,
            ("ResourcePolicy", "NoCapacity", f"no unit takes some pods: {why}"): 1,
        }
        events.wait_for(lambda found: told(found) == wanted, 30, f"{wanted}")
        # More of the same: the policy's Events are not even written again.
        it = extender(scene.cluster)
        wait_unchanged(it, WRITES, 1.0, 30)
        before = total(it, WRITES)
        scene.scale("app", 6)
        scene.pods.wait_for(answered(6), 60, "all answered")
        wanted["Pod", "NoCapacity", f"no unit takes the pod: {why}"] = 4
        events.wait_for(lambda found: told(found) == wanted, 30, f"{wanted}")
        wait_unchanged(it, WRITES, 1.0, 30)
        assert total(it, WRITES) == before + 2
        assert all(
            each["type"] == ("Warning" if each["reason"] == "NoCapacity" else "Normal")
            for each in events.objects.values()
            if each.get("reportingController") == OURS
        )


def test_waits_and_only_a_maximum(scene: Scene) -> None:
    scene.add_nodes(node("real-0", gpus=1), virtual_node("virtual-0"))
    with watching(scene) as events:
        for name, policy_of, unit in (
            ("waits", "ExceedMax", {"resource": "ecs", "max": 5}),
            ("full", "LackResourceOrExceedMax", {"resource": "eci", "max": 0}),
        ):
            scene.add(
                policy(
                    ACK, scene.namespace, name, selector={"app": name}, units=[unit],
                    whenTryNextUnits={"policy": policy_of},
                )
            )  # fmt: skip
            scene.add(deployment(scene.namespace, name, "spillover-scheduler", replicas=2))
        scene.pods.wait_for(
            lambda pods: answered(4)(pods) and all(map(is_live, pods)), 60, "all answered"
        )
        wanted = {
            ("Pod", "WaitingForUnit", "waits for nodes of ecs"): 1,
            ("ResourcePolicy", "WaitingForUnit", "pods wait for ecs"): 1,
            ("Pod", "UnitAtMax", "eci is at its max of 0"): 2,
            ("ResourcePolicy", "UnitAtMax", "eci is at its max of 0"): 1,
        }
        events.wait_for(lambda found: told(found) == wanted, 30, f"{wanted}")


def trail(scene: Scene) -> list[Object]:
    """The lines of the audit trail about this namespace."""
    (log,) = scene.cluster.logs("extender")
    lines = (json.loads(line) for line in log.read_text().splitlines() if line.startswith("{"))
    return [
        line
        for line in lines
        if line["logger"] == "spillover.audit" and line["namespace"] == scene.namespace
    ]


def delayed(pods: list[Object]) -> list[str]:
    return [
        each["metadata"]["name"]
        for each in pods
        if DELAY in each["metadata"].get("annotations", {})
    ]


def test_the_audit_trail(scene: Scene) -> None:
    """One line for each decision that changed something, however often the scheduler asks."""
    scene.add_nodes(node("real-0", gpus=1), virtual_node("virtual-0"))
    units = [{"resource": "ecs", "max": 1}, {"resource": "eci", "max": 1}]
    app = policy(ACK, scene.namespace, "app", selector={"app": "app"}, units=units)
    scene.add(app)
    scene.add(deployment(scene.namespace, "app", "spillover-scheduler", replicas=3))
    pods = scene.pods.wait_for(
        lambda pods: answered(3)(pods) and bool(delayed(pods)), 60, "one held back"
    )
    (last,) = delayed(pods)
    units[1]["max"] = 2
    scene.cluster.apply(app)
    scene.pods.wait_for(lambda pods: all(map(is_ready, pods)), 40, "all ready")
    scene.pods.wait_quiet(1.5, 30)
    lines = trail(scene)
    bound = {line["pod"]: line for line in lines if line["msg"] == "bound"}
    assert sorted((line["unit"], line["place"]) for line in bound.values()) == [
        ("eci", "spilled"), ("eci", "spilled"), ("ecs", "first"),
    ]  # fmt: skip
    assert len([line for line in lines if line["msg"] == "bound"]) == 3
    refused = [line for line in lines if line["msg"] == "not placed"]
    assert [line["pod"] for line in refused] == [last]
    assert "eci is at its max of 1" in refused[0]["reason"]
    assert bound[last]["reason"] == "ecs is at its max of 1"
    delays = [line["reason"] for line in lines if line["msg"] == "annotated"]
    assert delays[0] == "only a maximum is against it"
    assert len(delays) == 2  # set and removed
