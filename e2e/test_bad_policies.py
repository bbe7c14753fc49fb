"""Policies that contradict themselves: not used, their pods told why, and the others work on."""

from typing import Any

from harness.scenes import ACK, VKE, node, pod, policy
from harness.stage import Scene, answered
from harness.watch import node_of, scheduling_message

Object = dict[str, Any]
ECS: Object = {"resource": "ecs"}
OWN: Object = {"name": "own", "type": "ecs"}


def term(**fields: object) -> Object:
    return {"subsets": [{**OWN, "nodeSelectorTerm": [fields]}]}


# By the pod's app: dialect, what is wrong, and what the pod is told.
BAD: dict[str, tuple[str, Object, str]] = {
    "one-name": (
        VKE, {"subsets": [OWN, OWN]}, "spec.subsets[1].name: 'own' names another subset already"
    ),
    "ratio": (
        VKE, {"subsets": [{**OWN, "maxReplicasRatio": "abc"}]},
        "spec.subsets[0].maxReplicasRatio: 'abc' is not a number such as 0.1",
    ),
    "negative-max": (
        ACK, {"units": [{**ECS, "max": -1}]}, "spec.units[0].max: must not be negative, is -1"
    ),
    "no-units": (ACK, {"units": []}, "spec.units: at least one unit is required"),
    "timeout": (
        ACK, {"units": [ECS], "whenTryNextUnits": {"timeout": "-1s"}},
        "spec.whenTryNextUnits.timeout: must not be negative, is -1s",
    ),
    "operator": (
        VKE, term(key="pool", operator="Equals", values=["a"]),
        "spec.subsets[0].nodeSelectorTerm[0].operator: 'Equals' is not one of In, NotIn,",
    ),
    "exists": (
        VKE, term(key="pool", operator="Exists", values=["a"]),
        "spec.subsets[0].nodeSelectorTerm[0].values: Exists takes no values",
    ),
    "key": (
        ACK, {"units": [{**ECS, "podLabels": {"-x/y": "z"}}]},
        "spec.units[0].podLabels: '-x/y' has a prefix that is not a DNS subdomain",
    ),
    "selector": (
        ACK, {"units": [{**ECS, "podLabels": {"app": "other"}}]},
        "spec.units[0].podLabels[app]: would change the policy's own selector",
    ),
    "counted-by": (
        ACK, {"units": [{**ECS, "podLabels": {"hash": "x"}}], "matchLabelKeys": ["hash"]},
        "spec.units[0].podLabels[hash]: would change a label that matchLabelKeys counts by",
    ),
    "resources": (
        ACK, {"units": [{**ECS, "maxResources": {"cpu": "many"}}]},
        "spec.units[0].maxResources[cpu]: 'many' is not a quantity",
    ),
}  # fmt: skip


def test_their_pods_stay_pending_and_are_told_the_field(scene: Scene) -> None:
    scene.add_nodes(node("node-0", gpus=50))
    scene.add_unchecked(
        *(
            policy(group, scene.namespace, app, **{"selector": {"app": app}, **spec})
            for app, (group, spec, _) in BAD.items()
        )
    )
    scene.add(policy(ACK, scene.namespace, "good", selector={"app": "good"}, units=[ECS]))
    apps = [*BAD, "good"]
    scene.add(
        *(pod(scene.namespace, app, "spillover-scheduler", labels={"app": app}) for app in apps)
    )
    pods = scene.pods.wait_for(answered(len(apps)), 60, "all answered")
    assert {each["metadata"]["name"] for each in pods if node_of(each)} == {"good"}
    told = {each["metadata"]["name"]: scheduling_message(each) for each in pods}
    for app, (_, _, problem) in BAD.items():
        assert f"1 ResourcePolicy {app} is invalid: {problem}" in told[app]
    # Mended, one of them works at once.
    mended = policy(ACK, scene.namespace, "no-units", selector={"app": "no-units"}, units=[ECS])
    scene.cluster.apply(mended)
    scene.pods.wait_for(
        lambda pods: (
            {each["metadata"]["name"] for each in pods if node_of(each)} == {"good", "no-units"}
        ),
        40,
        "the pod of the mended policy bound",
    )
