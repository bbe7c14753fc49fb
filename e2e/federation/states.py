"""Where the pods of a fleet are, as the vendor's tables write it."""

import time
from collections.abc import Mapping
from functools import partial

from harness.scenes import Object
from harness.watch import Watch, is_live, node_of, scheduled_condition


def until(pods: Mapping[str, Watch], state: str, seconds: float, what: str) -> None:
    """Waits until the pods of the members are as `state` says, all at one time."""
    deadline = time.monotonic() + seconds
    for watch, wanted in zip(pods.values(), state.split(), strict=True):
        left = max(0.1, deadline - time.monotonic())
        watch.wait_for(partial(_is, wanted), left, f"{what}: {state}")
    if " ".join(told(list(watch.objects.values())) for watch in pods.values()) != state:
        until(pods, state, deadline - time.monotonic(), what)


def _is(wanted: str, pods: list[Object]) -> bool:
    return told(pods) == wanted


def told(pods: list[Object]) -> str:
    """prepaid/virtual/pay-as-you-go+unschedulable"""
    live = list(filter(is_live, pods))
    units = "/".join(
        str(sum(node_of(pod).startswith(prefix) for pod in live))
        for prefix in ("prepaid-", "virtual-", "postpaid-")
    )
    stuck = sum(scheduled_condition(pod).get("reason") == "Unschedulable" for pod in live)
    return f"{units}+{stuck}" if stuck else units
