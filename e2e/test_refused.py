"""Bad policies are refused at the door, with every error and its field's path."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.scenes import ACK, VKE, policy
from harness.stage import Scene

Object = dict[str, Any]
ECS: Object = {"resource": "ecs"}
TABLE = yaml.safe_load(Path(__file__).with_name("refused.yaml").read_text())
GROUPS = {"ack": ACK, "vke": VKE}
DENIED = 'admission webhook "policies.spillover.dev" denied the request: '


def applied(scene: Scene, made: Object) -> str:
    """What `kubectl apply` says on standard error."""
    ended = subprocess.run(
        [*scene.cluster.kubectl_command(), "apply", "-f", "-"],
        input=yaml.safe_dump(made),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1, "it was stored"
    return ended.stderr.strip()


def test_there_are_enough_of_them() -> None:
    assert len(TABLE) >= 40


@pytest.mark.parametrize("dialect", GROUPS)
def test_kubectl_apply_prints_what_is_wrong(scene: Scene, dialect: str) -> None:
    group = GROUPS[dialect]
    for row in (row for row in TABLE if row["dialect"] == dialect):
        spec = {"selector": {"app": "app"}, **row["spec"]}
        said = applied(scene, policy(group, scene.namespace, "bad", **spec))
        assert said.partition(DENIED)[2] == row["says"], said
    assert scene.cluster.items(f"resourcepolicies.{group}", "-n", scene.namespace) == []


def test_a_bad_policy_of_before_can_be_mended_relabelled_and_deleted(scene: Scene) -> None:
    bad = policy(ACK, scene.namespace, "old", selector={"app": "app"}, units=[{**ECS, "max": -1}])
    scene.add_unchecked(bad)
    name = (f"resourcepolicy.{ACK}", "old", "-n", scene.namespace)
    scene.cluster.kubectl("label", *name, "team=ml")
    worse = {**bad, "spec": {"units": [{**ECS, "max": -3}]}}
    assert "spec.units[0].max: must not be negative, is -3" in applied(scene, worse)
    scene.cluster.apply({**bad, "spec": {"units": [ECS]}})
    scene.cluster.kubectl("delete", *name)
