"""Whatever crashes, no unit has more pods than its maximum: random faults, judged from outside."""

import os
from collections.abc import Iterator

import pytest

from faults.ground import Ground, ground
from faults.injections import refusal_policy
from faults.plan import draw
from faults.run import Outcome, run
from faults.table import table
from harness import scenes

SHORT = (4.0, 2.5, 0.5)
RECOVER_SECONDS = 60.0
SLACK = 5  # on machines that do other things beside


@pytest.fixture(scope="module")
def short(cluster_name: str) -> Iterator[Ground]:
    with ground(f"{cluster_name}-faults", SHORT) as found:
        found.cluster.create(refusal_policy())
        yield found


@pytest.mark.timeout(4 * 3600)
def test_no_fault_makes_a_unit_exceed_its_maximum(
    short: Ground, request: pytest.FixtureRequest, *, full: bool
) -> None:
    runs = request.config.getoption("--runs") or (100 if full else 8)
    first = request.config.getoption("--seed") or int.from_bytes(os.urandom(3))
    print(f"\nseeds {first} to {first + runs - 1}: --seed {first} repeats them")
    outcomes: list[Outcome] = []
    for seed in range(first, first + runs):
        plan = draw(seed, SHORT[0])
        print(plan, end=" ", flush=True)
        outcome = run(
            short,
            plan,
            RECOVER_SECONDS * (1 if full else SLACK),
            deployment=lambda namespace: scenes.deployment(
                namespace, "load", "spillover-scheduler"
            ),
        )
        outcomes.append(outcome)
        print(
            f"-> {outcome.highest}, {outcome.events} events, {outcome.recovery:.1f} s", flush=True
        )
        assert outcome.overshoot == 0, f"overshoot: {outcome}"
        assert outcome.moved == []
    print(table(outcomes))
