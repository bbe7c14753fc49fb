"""Whatever crashes, no unit has more pods than its maximum: random faults, judged from outside."""

import os
from collections.abc import Iterator, Sequence

import pytest

from faults.ground import Ground, ground
from faults.injections import refusal_policy
from faults.plan import ALL, draw
from faults.run import Outcome, run
from faults.table import table
from faults.volumes import Provisioner, ephemeral_volume, storage_class
from harness import scenes

SHORT = (4.0, 2.5, 0.5)
CI_SEED = 1000
"""What CI runs is the same each time; new schedules are for `--long`, or `--seed`."""
RECOVER_SECONDS = 60.0
PREBIND_SECONDS = 90.0
SLOW = 25.0
"""A change every few seconds, so that pods live long enough to be bound."""
LEASE_SECONDS = 15.0


@pytest.fixture(scope="module")
def short(cluster_name: str) -> Iterator[Ground]:
    """With a Lease that is over soon."""
    with ground(f"{cluster_name}-faults", SHORT) as found:
        found.cluster.create(refusal_policy())
        yield found


@pytest.fixture(scope="module")
def slow(cluster_name: str) -> Iterator[Ground]:
    """With the Lease of manifests/, and volumes."""
    with ground(f"{cluster_name}-volumes", None) as found:
        found.cluster.create(refusal_policy(), storage_class())
        yield found


@pytest.mark.timeout(4 * 3600)
def test_no_fault_makes_a_unit_exceed_its_maximum(
    short: Ground, request: pytest.FixtureRequest, slack: float, *, full: bool
) -> None:
    seconds = RECOVER_SECONDS * slack
    _run_all(short, request, 100 if full else 8, SHORT[0], seconds, 1.0, full=full)


@pytest.mark.timeout(4 * 3600)
def test_nor_with_hostile_pods_among_them(
    short: Ground, request: pytest.FixtureRequest, slack: float, *, full: bool
) -> None:
    """Forged marks, odd quantities and whatever else a tenant can write."""
    seconds = RECOVER_SECONDS * slack
    _run_all(short, request, 30 if full else 3, SHORT[0], seconds, 1.0, full=full, hostile=True)


@pytest.mark.timeout(4 * 3600)
def test_nor_while_volumes_are_waited_for(
    slow: Ground, request: pytest.FixtureRequest, *, full: bool
) -> None:
    """Between filter and bind lie 90 s, in which everything may have changed."""
    prebind = request.config.getoption("--prebind")
    if not full and prebind is None:
        pytest.skip("each run takes minutes: in --long only, or with --prebind")
    wait = PREBIND_SECONDS if prebind is None else prebind
    with Provisioner(slow.api, wait):
        seconds = RECOVER_SECONDS + wait
        volumes = [ephemeral_volume()]
        _run_all(slow, request, 10, LEASE_SECONDS, seconds, SLOW, full=full, volumes=volumes)


def _run_all(
    where: Ground,
    request: pytest.FixtureRequest,
    count: int,
    lease_seconds: float,
    recover_seconds: float,
    pace: float,
    *,
    full: bool,
    volumes: Sequence[dict[str, object]] = (),
    hostile: bool = False,
) -> None:
    runs = request.config.getoption("--runs") or count
    asked = request.config.getoption("--seed")
    first = asked or (int.from_bytes(os.urandom(3)) if full else CI_SEED)
    print(f"\nseeds {first} to {first + runs - 1}: --seed {first} repeats them")
    chosen = request.config.getoption("--faults")
    faults = chosen.split(",") if chosen else ALL
    outcomes: list[Outcome] = []
    for seed in range(first, first + runs):
        plan = draw(seed, lease_seconds, faults)
        print(plan, end=" ", flush=True)
        outcome = run(
            where,
            plan,
            recover_seconds,
            pace,
            deployment=lambda namespace: scenes.deployment(
                namespace, "load", "spillover-scheduler", volumes=list(volumes)
            ),
            hostile=hostile,
        )
        outcomes.append(outcome)
        print(
            f"-> {outcome.highest}, {outcome.events} events, changes {outcome.changes},"
            f" {outcome.recovery:.1f} s",
            flush=True,
        )
        assert outcome.moved == []
    print(table(outcomes))
