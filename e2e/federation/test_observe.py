"""Spillover in three members of a KubeAdmiral fleet, without an agent: the vendor's tables."""

import time

import pytest

from federation.fleet import (
    MEMBERS,
    VIRTUAL_ANNOTATIONS,
    Fleet,
    Running,
    override,
    propagation,
    workload,
)
from federation.states import until
from federation.tables import PRIORITIES, WEIGHTS, Table
from harness.watch import Watch, is_live

SETTLE_SECONDS = 30.0
HOPS_SECONDS = 50.0
"""The engine's ten seconds for each hop, after the threshold."""


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("packs", "table"), [(False, WEIGHTS), (True, PRIORITIES)], ids=["weights", "priorities"]
)
def test_the_vendors_table(
    members_and_hub: Fleet,
    pods: dict[str, Watch],
    packs: bool,
    table: Table,
    *,
    full: bool,
) -> None:
    fleet = members_and_hub
    threshold = 120 if full else 10
    name = "by-priority" if packs else "by-weight"
    fleet.hub.apply(
        propagation(name, threshold=f"{threshold}s", packs=packs), override("annotations")
    )
    fleet.set_virtual_max(2, *MEMBERS)
    fleet.hub.apply(workload(table[0][1], name, "annotations"))
    with Running(fleet):
        for step, replicas, most, states in table:
            fleet.set_virtual_max(most, *MEMBERS[:2])
            fleet.scale(replicas)
            begun = time.monotonic()
            for state in states:
                seconds = SETTLE_SECONDS if state == states[0] else threshold + HOPS_SECONDS
                until(pods, state, seconds, f"{name}, {step}")
                print(f"{name}, {step}: {state} after {time.monotonic() - begun:.1f} s")
    for member, watch in pods.items():
        key, value = VIRTUAL_ANNOTATIONS[member]
        for pod in filter(is_live, watch.objects.values()):
            assert pod["metadata"]["annotations"][key] == value
