"""What `kubectl get` and `kubectl explain` show of both dialects."""

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from harness.scenes import ACK, VKE, three_tiers
from harness.stage import Scene

Object = dict[str, Any]


@pytest.mark.parametrize(
    ("group", "row"),
    [
        (ACK, ["app", "prefer", "ecs", "eci", "2", "ecs"]),
        (VKE, ["app", "require", "prepaid", "eci", "2", "postpaid"]),
    ],
)
def test_get_shows_strategy_and_units_with_their_maxima(
    scene: Scene, group: str, row: list[str]
) -> None:
    scene.add(three_tiers(group, scene.namespace, "app"))
    shown = scene.cluster.kubectl("get", f"resourcepolicy.{group}", "-n", scene.namespace)
    headings, line = shown.splitlines()
    assert headings.split() == [
        "NAME", "STRATEGY",
        "FIRST", "FIRST-MAX", "SECOND", "SECOND-MAX", "THIRD", "THIRD-MAX", "AGE",
    ]  # fmt: skip
    assert line.split()[:-1] == row


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
