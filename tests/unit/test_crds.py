"""The CRDs in manifests/ are those of the wire types."""

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from spillover.api.ahpa_crd import crd as ahpa_crd
from spillover.api.crd import ack_crd, vke_crd

FOLDER = Path(__file__).parents[2] / "manifests"
GENERATED: dict[str, str] = runpy.run_path(str(FOLDER / "generate.py"))["rendered"]()
CRDS = [ack_crd(), vke_crd(), ahpa_crd()]


@pytest.mark.parametrize("file", sorted(GENERATED))
def test_the_manifest_is_up_to_date(file: str) -> None:
    """./dev generate writes it."""
    written = yaml.safe_load((FOLDER / file).read_text())
    assert written == yaml.safe_load(GENERATED[file])


@pytest.mark.parametrize("crd", CRDS, ids=lambda crd: str(crd["spec"]["group"]))
def test_every_field_has_a_type_and_a_description_and_nothing_that_refuses(
    crd: dict[str, Any],
) -> None:
    (version,) = crd["spec"]["versions"]
    assert version["subresources"] == {"status": {}}
    for path, schema in parts(version["schema"]["openAPIV3Schema"], "it"):
        # What stands for a workload's selector is answered by the webhook. A quantile is a number
        # or a text.
        is_open = path in ("it.spec.selector.additionalProperties", "it.spec.prediction.quantile")
        assert is_open or "type" in schema or schema["x-kubernetes-int-or-string"], path
        refusing = schema.keys() & {"enum", "minimum", "maximum", "pattern", "required", "default"}
        if path == "it.status.conditions.items":  # merged by type; users write no status
            assert schema["required"] == ["type"]
            refusing -= {"required"}
        assert not refusing, path
        if "properties" in schema and path != "it":  # beside spec and status nobody has fields
            assert schema["x-kubernetes-preserve-unknown-fields"] is True, path
        for name, field in schema.get("properties", {}).items():
            assert field["description"], f"{path}.{name}"


def parts(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    below = {**schema.get("properties", {})}
    for key in ("items", "additionalProperties"):
        if key in schema:
            below[key] = schema[key]
    for name, part in below.items():
        yield from parts(part, f"{path}.{name}")
