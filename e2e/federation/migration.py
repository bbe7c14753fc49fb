"""What KubeAdmiral finds in a member cluster about unschedulable pods: a model for the tests, pure.

See `planning.py` for its source and its check.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

Object = Mapping[str, Any]


@dataclass(frozen=True)
class Found:
    """What one cluster's pods of one Deployment say."""

    scheduled: int
    """Pods with a node."""
    capacity: int | None
    """`estimatedCapacity`, or None where no pod is unschedulable for too long."""
    look_again: float | None = None
    """Seconds until the next pod has been unschedulable for too long."""


def found(deployment: Object, pods: Sequence[Object], threshold: float, now: float) -> Found:
    """`pods` are those of the Deployment. `threshold` is in seconds. `now` is in seconds since
    1970."""
    status = deployment.get("status", {})
    total = status.get("replicas", 0)
    if total == status.get("readyReplicas", 0):
        return Found(total, None)
    desired = deployment["spec"]["replicas"]
    scheduled = stuck = 0
    crossings: list[float] = []
    for pod in pods:
        if pod["metadata"].get("deletionTimestamp"):
            continue
        condition = scheduled_condition(pod)
        if condition.get("status") == "True":
            scheduled += 1
        elif (condition.get("status"), condition.get("reason")) == ("False", "Unschedulable"):
            left = _seconds(condition["lastTransitionTime"]) + threshold - now
            if left <= 0:
                stuck += 1
            else:
                crossings.append(left)
    # Pods that are not there yet count as schedulable.
    capacity = max(0, max(len(pods), desired) - stuck)
    return Found(scheduled, capacity if capacity < desired else None, min(crossings, default=None))


def scheduled_condition(pod: Object) -> Object:
    conditions = pod.get("status", {}).get("conditions") or ()
    return next((each for each in conditions if each["type"] == "PodScheduled"), {})


def _seconds(instant: str) -> float:
    return datetime.strptime(instant, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
