"""What `kubectl get` and `kubectl explain` show of both dialects."""

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from harness.scenes import ACK, VKE, three_tiers
from harness.stage import Scene

Object = dict[str, Any]


@pytest.mark.parametrize(
    ("group", "strategy", "fill"),
    [
        (ACK, "prefer", "0/∞ ecs(pool=prepaid), 0/2 eci, 0/∞ ecs(pool=postpaid)"),
        (VKE, "require", "0/∞ prepaid, 0/2 eci, 0/∞ postpaid"),
    ],
)
def test_get_shows_strategy_and_counts_and_wide_the_fill_of_units(
    scene: Scene, group: str, strategy: str, fill: str
) -> None:
    kind = f"resourcepolicy.{group}"
    scene.add(three_tiers(group, scene.namespace, "app"))
    scene.cluster.kubectl(
        "wait", kind, "app", "-n", scene.namespace, "--for=condition=Ready", "--timeout=30s"
    )
    headings, line = scene.cluster.kubectl("get", kind, "-n", scene.namespace).splitlines()
    assert headings.split() == ["NAME", "STRATEGY", "UNITS", "PODS", "PENDING", "READY", "AGE"]
    assert line.split()[:-1] == ["app", strategy, "3", "0", "0", "0"]
    assert fill in scene.cluster.kubectl("get", kind, "-n", scene.namespace, "-o", "wide")


@pytest.mark.parametrize("group", [ACK, VKE])
def test_explain_documents_every_field(scene: Scene, group: str) -> None:
    crd = yaml.safe_load(
        scene.cluster.kubectl("get", f"crd/resourcepolicies.{group}", "-o", "yaml")
    )
    (version,) = crd["spec"]["versions"]
    fields = list(described(version["schema"]["openAPIV3Schema"]["properties"]["spec"], "spec"))
    assert len(fields) > 10
    for path, description in fields:
        shown = scene.cluster.kubectl(
            "explain", f"resourcepolicies.{path}", f"--api-version={group}/{version['name']}"
        )
        assert description[:40] in " ".join(shown.split())


def described(schema: Object, path: str) -> Iterator[tuple[str, str]]:
    """(path, description) of every field below. Fails on one without a description."""
    schema = schema.get("items", schema)
    for name, part in schema.get("properties", {}).items():
        assert part["description"], f"{path}.{name}"
        yield f"{path}.{name}", part["description"]
        yield from described(part, f"{path}.{name}")


@pytest.mark.parametrize("group", [ACK, VKE])
def test_fields_that_we_do_not_know_are_kept(scene: Scene, group: str) -> None:
    policy = three_tiers(group, scene.namespace, "app")
    units = policy["spec"].get("units") or policy["spec"]["subsets"]
    policy["spec"]["novelty"] = {"depth": 1}
    units[0]["novelty"] = "yes"
    scene.add(policy)
    (stored,) = scene.cluster.items(f"resourcepolicies.{group}", "-n", scene.namespace)
    assert stored["spec"] == policy["spec"]
