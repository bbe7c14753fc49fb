"""Filter calls whose instructions are counted: a program that test_costs.py runs under callgrind.

Between two marks lie CALLS calls of one kind. Prints the kinds in their order.
"""

import gc
import os
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from builders import decision_log, leading
from extender.filtering import Filtering
from extender.metrics import Metrics
from spillover.api import ack
from spillover.api.extender import FilterArgs
from spillover.core.cache.cluster import ClusterCache
from spillover.core.cache.unschedulable import Bounds
from spillover.core.dialects import load
from spillover.core.model.conventions import NodeConventions
from spillover.core.model.nodes import Node
from spillover.core.model.pods import pod_from_wire
from spillover.core.scheduler import Scheduler
from spillover.kube.credentials import Credentials
from spillover.kube.session import ApiSession

CALLS = 10
WARM = 3
NAMES = 1000
PODS, POLICIES, UNITS = 100, 10, 3
MORE = 16

FULL = {"resource": "ecs", "nodeSelector": {"pool": "a"}, "max": 0}
OPEN = {"resource": "ecs", "nodeSelector": {"pool": "b"}}

_ARGS = msgspec.json.Decoder(FilterArgs)


def mark() -> None:
    """callgrind writes down what it has counted, and begins anew. Nothing else calls this."""
    os.getppid()


class World:
    """One extender's filter, with a cache of some size."""

    def __init__(
        self,
        units: list[dict[str, Any]],
        *,
        pods: int = PODS,
        policies: int = POLICIES,
    ) -> None:
        cluster = ClusterCache(
            NodeConventions(), lambda: 0.0, lambda: 0.0, lambda: 0.5, bounds=Bounds(tried=10**6)
        )
        scheduler = leading(Scheduler(cluster))
        for number in range(NAMES):
            cluster.put_node(Node(_node(number), {"pool": "ab"[number % 2]}, ()))
        cluster.put_policy(load(_policy("app", units), ack.GROUP))
        for number in range(policies):
            cluster.put_policy(load(_policy(f"other-{number}", units), ack.GROUP))
        cluster.edits.take_in_all()
        for number in range(pods):
            app = "app" if number % 2 else f"other-{number % policies}"
            bound = _pod(f"bound-{number}", app)
            bound["spec"]["nodeName"] = _node(number % NAMES)
            cluster.put_pod(pod_from_wire(msgspec.convert(bound, _ARGS_POD)))
        session = ApiSession(Credentials())  # nobody writes
        self._filtering = Filtering(scheduler, Metrics(cluster, []), decision_log(session))
        self._cluster = cluster

    def known(self, body: bytes) -> None:
        """The watch has shown the pod of the request."""
        self._cluster.put_pod(pod_from_wire(_ARGS.decode(body).pod))

    def filter(self, body: bytes) -> bytes:
        return msgspec.json.encode(self._filtering.filter(_ARGS.decode(body)))


class _Result(msgspec.Struct, rename="pascal"):
    node_names: list[str]


def least(body: bytes) -> bytes:
    """What every extender does: the names that came go back."""
    return msgspec.json.encode(_Result(_ARGS.decode(body).node_names))


def bodies(app: str, *, extra: str = "", again: bool = False) -> list[bytes]:
    """Requests with a pod each. `again`: with the same pod."""
    names = [_node(number) for number in range(NAMES)]
    return [
        msgspec.json.encode({"Pod": _pod(f"{app}-{0 if again else number}", app, extra),
                             "NodeNames": names})
        for number in range(WARM + CALLS)
    ]  # fmt: skip


_ARGS_POD = FilterArgs.__annotations__["pod"]


def _node(number: int) -> str:
    return f"node-{number:05}.region-a.compute.internal"


def _policy(app: str, units: list[dict[str, Any]]) -> dict[str, Any]:
    metadata = {"name": app, "namespace": "ns", "uid": app,
                "creationTimestamp": "2026-01-01T00:00:00Z"}  # fmt: skip
    return {"metadata": metadata, "spec": {"selector": {"app": app}, "units": units}}


def _pod(uid: str, app: str, extra: str = "") -> dict[str, Any]:
    variables = [{"name": f"E{number}", "value": "x" * 40} for number in range(20)]
    container = {"name": "c", "image": "registry.example.com/model:1", "env": variables,
                 "args": [extra], "resources": {"requests": {"cpu": "1"}}}  # fmt: skip
    return {
        "metadata": {"name": uid, "namespace": "ns", "uid": uid, "resourceVersion": "7",
                     "labels": {"app": app}, "creationTimestamp": "2026-01-02T00:00:00Z"},
        "spec": {"schedulerName": "spillover-scheduler", "containers": [container]},
    }  # fmt: skip


def kinds() -> Iterator[tuple[str, Callable[[bytes], bytes], list[bytes]]]:
    """Each with the requests for it."""
    yield "least", least, bodies("app")
    for name, world in (
        ("placed", World([OPEN] * UNITS)),
        ("more pods", World([OPEN] * UNITS, pods=PODS * MORE)),
        ("more policies", World([OPEN] * UNITS, policies=POLICIES * MORE)),
        ("more units", World([OPEN] * UNITS * MORE)),
        ("in the last unit", World([FULL, FULL, OPEN])),
    ):
        found = bodies("app")
        for body in found:
            world.known(body)
        yield name, world.filter, found
    again = bodies("app", again=True)
    world = World([FULL] * UNITS)
    world.known(again[0])
    yield "rejected again", world.filter, again


def count() -> None:
    """Counts calls of each kind. A collection of garbage would come in some of them."""
    gc.disable()
    for name, call, requests in kinds():
        for body in requests[:WARM]:
            call(body)
        mark()
        for body in requests[WARM:]:
            call(body)
        mark()
        print(name, flush=True)


def most_memory(call: Callable[[bytes], bytes], requests: list[bytes]) -> int:
    """The most bytes that one of the calls holds above what was there before it."""
    most = 0
    for body in requests[:WARM]:
        call(body)
    tracemalloc.start()
    for body in requests[WARM:]:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        call(body)
        most = max(most, tracemalloc.get_traced_memory()[1] - before)
    tracemalloc.stop()
    return most


if __name__ == "__main__":
    count()
