"""The exhaustive model in docs/proofs: in no order of events is the maximum exceeded, and without
any one of the guards it is."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

_FILE = Path(__file__).parents[2] / "docs" / "proofs" / "exactness.py"

SCOPES = [
    (0, 0, 0, 0, 0),
    (1, 0, 0, 0, 0),
    (0, 1, 0, 1, 0),
    (0, 1, 1, 0, 1),
]
"""How often the Lease passes on, a process ends, a pod is deleted, a patch is refused, an outcome
is not waited for."""
LARGE_SCOPES = [(1, 1, 0, 0, 0), (1, 0, 0, 1, 0), (1, 0, 1, 0, 0), (1, 0, 0, 0, 1)]


def _model() -> ModuleType:
    spec = importlib.util.spec_from_file_location("exactness", _FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["exactness"] = module
    spec.loader.exec_module(module)
    return module


MODEL = _model()


@pytest.mark.timeout(4 * 3600)
def test_no_order_exceeds_the_maximum(*, full: bool) -> None:
    for scope in SCOPES + (LARGE_SCOPES if full else []):
        found = MODEL.explore(budget=scope)
        print(f"{scope}: {found.states} states")
        assert found.trace == [], "\n".join(found.trace)
        assert found.complete


@pytest.mark.parametrize("guard", MODEL.GUARDS)
def test_no_guard_can_be_done_without(guard: str) -> None:
    scope = (0, 0, 0, 0, 1) if guard == "fence" else (1, 0, 0, 0, 0)
    found = MODEL.explore(guard, budget=scope)
    print(f"without {guard}, after {found.states} states:", *found.trace, sep="\n  ")
    assert found.trace
