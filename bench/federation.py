"""What a federation agent needs for 1,000 workloads with 20,000 pods on 500 nodes.

In one process, without an API server: the memory of all objects, and the time of one look at all
workloads, beside one look at a tenth of them. The agent looks when something has changed, and then
rests for nine times as long. Needs about half a minute.
"""

import resource
import sys
import time
from typing import Any

import msgspec

from spillover.api import ack
from spillover.core.cache.cluster import ClusterCache
from spillover.core.dialects import load
from spillover.core.model.conventions import NodeConventions
from spillover.core.model.nodes import Node
from spillover.core.model.workloads import Workload
from spillover.core.reporting.fit import Capacity
from spillover.federation.agent.scheduler_watch import SchedulerWatch
from spillover.federation.agent.view import MemberView
from spillover.federation.deployments import deployed
from spillover.federation.memberreport import as_wire
from spillover.kube.reading import pod_of

WORKLOADS = 1000
PODS_EACH = 20
NODES = 500
LOOKS = 5


def view_of(workloads: int) -> MemberView:
    view = MemberView(
        ClusterCache(NodeConventions(), time.monotonic, time.time, lambda: 0.5),
        SchedulerWatch(60.0, time.monotonic),
    )
    for number in range(NODES):
        name, labels = f"node-{number}", {"pool": f"p{number % 10}"}
        view.cluster.put_node(Node(name, labels, ()))
        room = {"cpu": 64_000, "memory": 2**38, "pods": 110, "nvidia.com/gpu": 100}
        view.capacities[name] = Capacity(name, labels, cordoned=False, allocatable=room)
    for number in range(workloads):
        put_workload(view, f"app-{number}", number)
    view.cluster.edits.take_in_all()
    return view


def put_workload(view: MemberView, name: str, number: int) -> None:
    units = [
        {"resource": "ecs", "nodeSelector": {"pool": f"p{number % 10}"}, "max": PODS_EACH},
        {"resource": "ecs"},
    ]
    metadata = {
        "name": name,
        "namespace": "ns",
        "uid": f"policy-{name}",
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    spec = {"selector": {"app": name}, "units": units}
    view.cluster.put_policy(load({"metadata": metadata, "spec": spec}, ack.GROUP))
    view.cluster.put_workload(Workload("replicasets", f"rs-{name}", "ns", PODS_EACH, f"d-{name}"))
    template = pod(name, 0, "")
    deployment = {
        "metadata": {"name": name, "namespace": "ns", "uid": f"d-{name}", "resourceVersion": "1"},
        "spec": {"replicas": PODS_EACH, "template": template},
    }
    found = deployed(msgspec.json.encode(deployment))
    view.deployments[found.uid] = found
    for each in range(PODS_EACH):
        node = f"node-{(number * PODS_EACH + each) % NODES}"
        view.cluster.put_pod(pod_of(msgspec.json.encode(pod(name, each, node))))


def pod(app: str, number: int, node: str) -> dict[str, Any]:
    owner = {
        "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": app, "uid": f"rs-{app}",
        "controller": True,
    }  # fmt: skip
    requests = {"cpu": "500m", "memory": "1Gi", "nvidia.com/gpu": "1"}
    return {
        "metadata": {
            "name": f"{app}-{number}", "namespace": "ns", "uid": f"{app}-{number}",
            "resourceVersion": "1", "labels": {"app": app}, "ownerReferences": [owner],
        },
        "spec": {
            "nodeName": node, "schedulerName": "spillover-scheduler",
            "containers": [{"name": "c", "resources": {"requests": requests}}],
        },
    }  # fmt: skip


def look(view: MemberView) -> tuple[float, int]:
    """The CPU seconds of one look, and the bytes of the report."""
    begun = time.process_time()
    states = list(view.states())
    took = time.process_time() - begun
    return took, len(msgspec.json.encode(as_wire(states, "")))


def main() -> int:
    small = view_of(WORKLOADS // 10)
    least = min(look(small)[0] for _ in range(LOOKS))
    empty = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    view = view_of(WORKLOADS)
    full = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    looks = [look(view) for _ in range(LOOKS)]
    took = min(each for each, _ in looks)
    print(f"{WORKLOADS} workloads, {WORKLOADS * PODS_EACH} pods, {NODES} nodes")
    print(f"memory: {empty:.0f} MiB with a tenth of them, {full:.0f} MiB in all")
    print(
        f"one look: {took * 1e3:.0f} ms of a core, {took / least:.1f} times that of a tenth of them"
    )
    print(f"the report: {looks[0][1] / 1024:.0f} KiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
