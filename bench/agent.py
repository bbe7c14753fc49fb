"""What a whole federation agent needs on a large member: memory, CPU and writes at the hub, idle
and while pods change. One cluster is the hub and the member.

`./dev bench agent [--workloads N] [--pods N] [--nodes N] [--seconds N]`
"""

import argparse
import asyncio
import time
from collections import Counter
from dataclasses import replace

import msgspec

from federation import objects
from federation.agents import agent, apply
from federation.fleet import VKE1, Fleet
from harness import reports, scenes
from harness.cluster import AGENTS, Cluster, running
from harness.containers import Container
from harness.population import UNATTENDED, at_once
from harness.processes import resident_mib, used_seconds
from harness.waiting import until
from spillover.kube.credentials import Credentials
from spillover.kube.session import STRATEGIC_MERGE_PATCH, ApiSession

NAMESPACE = "fleet"
POLICIES = 100
CHANGES = 50
"""Of pods, in a second."""
_PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
_APPS = f"/apis/apps/v1/namespaces/{NAMESPACE}"
_SECONDS = 300


class _Meta(msgspec.Struct):
    uid: str


class _Made(msgspec.Struct):
    metadata: _Meta


async def made(session: ApiSession, path: str, body: scenes.Object) -> str:
    """The uid of the new object."""
    text = await session.request("POST", path, body=body)
    return msgspec.json.decode(text, type=_Made).metadata.uid


async def workload(session: ApiSession, number: int, options: argparse.Namespace) -> None:
    """A Deployment with its ReplicaSet and pods, as controllers would have made them."""
    name = f"app-{number:04}"
    labels = {"app": name, "tier": f"tier-{number % POLICIES}"}
    each = options.pods // options.workloads
    body = scenes.deployment(NAMESPACE, name, "nobody", replicas=each, gpus=0)
    body["metadata"]["labels"] = {objects.POLICY_LABEL: "all", objects.MANAGED_LABEL: "true"}
    body["spec"]["template"]["metadata"]["labels"] = labels
    uid = await made(session, f"{_APPS}/deployments", body)
    spec = {key: body["spec"][key] for key in ("replicas", "template")}
    replica_set = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels,
                     "ownerReferences": [_owner("Deployment", name, uid)]},
        "spec": {**spec, "selector": {"matchLabels": labels}},
    }  # fmt: skip
    uid = await made(session, f"{_APPS}/replicasets", replica_set)
    for pod in range(each):
        node = f"node-{(number * each + pod) % options.nodes:05}"
        one = scenes.pod(NAMESPACE, f"{name}-{pod}", "nobody", labels=labels, gpus=0, nodeName=node)
        one["metadata"]["ownerReferences"] = [_owner("ReplicaSet", name, uid)]
        await made(session, _PODS, one)


def _owner(kind: str, name: str, uid: str) -> scenes.Object:
    return {"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid, "controller": True}


async def filled(cluster: Cluster, options: argparse.Namespace) -> None:
    units = [
        {"resource": "ecs", "nodeSelector": {"pool": "prepaid"}, "max": 100},
        {"resource": "eci", "max": 50},
        {"resource": "ecs", "nodeSelector": {"pool": "postpaid"}},
    ]
    cluster.apply(
        *(
            scenes.policy(scenes.ACK, NAMESPACE, f"tier-{n}", selector={"tier": f"tier-{n}"},
                          units=units)
            for n in range(POLICIES)
        )
    )  # fmt: skip
    async with ApiSession(Credentials(cluster.kubeconfig)) as session:
        await at_once(_node(session, number) for number in range(options.nodes))
        await at_once(workload(session, number, options) for number in range(options.workloads))


async def _node(session: ApiSession, number: int) -> None:
    pool = "prepaid" if number % 2 else "postpaid"
    node = scenes.node(f"node-{number:05}", managed=False, labels={"pool": pool})
    await session.request("POST", "/api/v1/nodes", body=node)


async def changed(cluster: Cluster, options: argparse.Namespace) -> None:
    """Pods become ready or not, at a steady rate."""
    async with ApiSession(Credentials(cluster.kubeconfig)) as session:
        begun = time.monotonic()
        for number in range(options.seconds * CHANGES):
            await asyncio.sleep(max(0.0, begun + number / CHANGES - time.monotonic()))
            ready = {"type": "Ready", "status": str(number % 3 > 0)}
            await session.request(
                "PATCH", f"{_PODS}/app-{number % options.workloads:04}-0/status",
                body={"status": {"conditions": [ready]}}, content_type=STRATEGIC_MERGE_PATCH,
            )  # fmt: skip


class Meter:
    """What the agent has used and written since the last look."""

    def __init__(self, cluster: Cluster, container: Container) -> None:
        self._cluster = cluster
        self._container = container
        self._at = time.monotonic()
        self._used = 0.0
        self._written: Counter[str] = Counter()

    def look(self, what: str) -> dict[str, str]:
        pid = self._container.pid()
        used = used_seconds(pid)
        written, now = writes(self._cluster), time.monotonic()
        seconds = now - self._at
        row = {
            "while": f"{what}, {seconds:.0f} s",
            "MiB": f"{resident_mib(pid):.0f}",
            "of a core": f"{(used - self._used) / seconds:.3f}",
            "writes": ", ".join(
                f"{count} {name}" for name, count in sorted((written - self._written).items())
            ),
        }
        self._at, self._used, self._written = now, used, written
        return row


def has_reported(cluster: Cluster) -> bool:
    return any("memberreports" in name for name in writes(cluster))


def writes(cluster: Cluster) -> Counter[str]:
    """Of the agent's account at the hub, by verb and resource."""
    account = f"system:serviceaccount:{AGENTS}:{VKE1}"
    found: Counter[str] = Counter()
    for request in cluster.requests():
        if request["user"]["username"] == account:
            where = request.get("objectRef", {})
            parts = (where.get("resource", ""), where.get("subresource", ""))
            if request["verb"] in ("create", "update", "patch", "delete"):
                found[f"{request['verb']} {'/'.join(filter(None, parts))}"] += 1
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("workloads", 1000), ("pods", 20_000), ("nodes", 500), ("seconds", 60)):
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N")
    options = parser.parse_args()
    with running(Cluster("bench-agent"), replace(UNATTENDED, rights=True)) as cluster:
        cluster.apply(*objects.crds())
        cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        cluster.kubectl("create", "namespace", NAMESPACE)
        cluster.kubectl("wait", "--for=create", "sa/default", "-n", NAMESPACE, "--timeout=60s")
        cluster.apply(propagation())
        asyncio.run(filled(cluster, options))
        apply(cluster, "hub")
        with agent(Fleet(cluster, {VKE1: cluster}), VKE1, "report") as container:
            meter = Meter(cluster, container)
            until(lambda: has_reported(cluster), _SECONDS, "a report of all workloads")
            rows = [meter.look("it starts")]
            time.sleep(options.seconds)
            rows.append(meter.look("nothing happens"))
            asyncio.run(changed(cluster, options))
            rows.append(meter.look(f"{CHANGES} pods change a second"))
    title = f"An agent with {options.workloads} workloads and {options.pods} pods"
    command = (
        f"./dev bench agent --workloads {options.workloads} --pods {options.pods}"
        f" --nodes {options.nodes} --seconds {options.seconds}"
    )
    print(reports.write("agent", title, command, {"The agent": rows}, {"rows": rows}))


def propagation() -> scenes.Object:
    return {
        "apiVersion": f"{objects.GROUP}/v1alpha1",
        "kind": "PropagationPolicy",
        "metadata": {"name": "all", "namespace": NAMESPACE},
        "spec": {
            "schedulingMode": "Divide",
            "placement": [{"cluster": VKE1, "preferences": {"weight": 1}}],
        },
    }


if __name__ == "__main__":
    main()
