"""What a policy's status should say, counted anew from the pods that the API server has."""

from collections.abc import Callable, Mapping
from typing import Any

from harness.watch import is_live, is_ready, node_of

Object = dict[str, Any]

UNIT_FIELDS = ("assigned", "pending", "ready", "terminating", "used", "max", "free")
TOTALS = ("pods", "pending", "unscheduled", "ready", "terminating", "outside")


def counted(
    policy: Object, pods: list[Object], unit_of: Callable[[Object], str], limits: Mapping[str, int]
) -> Object:
    """`pods` are those that the policy selects; `unit_of` tells a bound pod's unit, as the status
    names it, or ""; `limits` has the units in the policy's order, -1 for no limit."""
    unfinished = [
        pod for pod in pods if pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")
    ]
    live = [pod for pod in unfinished if is_live(pod)]
    bound = [pod for pod in unfinished if node_of(pod)]
    units = [
        _unit(name, most, [pod for pod in bound if unit_of(pod) == name])
        for name, most in limits.items()
    ]
    return {
        "observedGeneration": policy["metadata"]["generation"],
        "pods": len(live),
        "pending": sum(map(_is_pending, live)),
        "unscheduled": sum(not node_of(pod) for pod in live),
        "ready": sum(map(is_ready, live)),
        "terminating": sum(not is_live(pod) for pod in bound),
        "outside": sum(is_live(pod) and unit_of(pod) not in limits for pod in bound),
        "units": units,
    }


def said(policy: Object) -> Object:
    """The same fields of its status."""
    status = policy.get("status", {})
    return {
        "observedGeneration": status.get("observedGeneration"),
        **{name: status.get(name) for name in TOTALS},
        "units": [
            {name: unit[name] for name in ("name", *UNIT_FIELDS) if name in unit}
            for unit in status.get("units", [])
        ],
    }


def _unit(name: str, most: int, pods: list[Object]) -> Object:
    live = [pod for pod in pods if is_live(pod)]
    limited = {"max": most, "free": max(0, most - len(live))} if most >= 0 else {}
    return {
        "name": name,
        "assigned": len(live),
        "pending": sum(map(_is_pending, live)),
        "ready": sum(map(is_ready, live)),
        "terminating": len(pods) - len(live),
        "used": len(live),
        **limited,
    }


def _is_pending(pod: Object) -> bool:
    return bool(pod.get("status", {}).get("phase") == "Pending")
