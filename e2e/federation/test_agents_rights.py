"""The agents' accounts have the rights that they use, and no others."""

import json
import time
from pathlib import Path

import pytest

from federation import objects
from federation.agents import hub_kubeconfig, rendered
from federation.fleet import (
    MEMBERS,
    NAMESPACE,
    VKE1,
    VKE2,
    WORKLOAD,
    Fleet,
    Running,
    override,
    propagation,
    workload,
)
from federation.states import until
from harness.client import Object
from harness.cluster import AGENTS, Cluster
from harness.containers import Container
from harness.rights import Right, granted, used
from harness.watch import Watch
from spillover.federation.agent.leases import PREFIX
from spillover.federation.memberreport import GROUP as REPORTS
from spillover.federation.memberreport import KIND, PATH, VERSION
from spillover.kube.credentials import Credentials
from spillover.kube.session import JSON, MERGE_PATCH, ApiError, ApiSession

GROUP = f"system:serviceaccounts:{AGENTS}"
AGENT = "spillover-agent"


def of_hub(user: Object) -> str:
    return "agents" if GROUP in user.get("groups", ()) or user.get("name") == GROUP else ""


def of_member(user: Object) -> str:
    """Of a subject in the manifests, or of a user in the audit log."""
    return (
        "agent" if AGENT in (user.get("username", "").rpartition(":")[2], user.get("name")) else ""
    )


def unused(hub: Cluster, member: Cluster) -> list[Right]:
    there = granted(rendered(hub, "hub-limit"), of_hub) - used(hub, of_hub)
    here = granted(rendered(member, "member"), of_member) - used(member, of_member)
    return sorted(there | here)


@pytest.mark.timeout(600)
def test_each_right_is_used(
    members_and_hub: Fleet, limiting: dict[str, Container], pods: dict[str, Watch]
) -> None:
    fleet = members_and_hub
    assert set(limiting) == set(MEMBERS)
    fleet.set_virtual_max(2, *MEMBERS)
    fleet.hub.apply(propagation("rights", threshold="2m"), override("annotations"))
    fleet.hub.apply(workload(10, "rights", "annotations"))
    member = fleet.members[VKE1]
    with Running(fleet):
        until(pods, "2/2/0 2/2/0 2/0/0", 30, "10 replicas")
        fleet.scale(30)
        until(pods, "2/2/2 2/2/2 2/2/10+4", 30, "30 replicas")
        deadline = time.monotonic() + 30
        while left := unused(fleet.hub, member):
            assert time.monotonic() < deadline, f"granted and not used: {left}"
            time.sleep(0.5)


DEPLOYMENT = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{WORKLOAD}"
FEDERATED = f"{objects.API}/namespaces/{NAMESPACE}/federatedobjects/{WORKLOAD}-deployments.apps"
LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{AGENTS}/leases"
REPORT = {"apiVersion": f"{REPORTS}/{VERSION}", "kind": KIND}
LEASE = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}


def noted(**notes: str | None) -> Object:
    return {"metadata": {"annotations": notes}}


_VERBS = {"PATCH": "patch", "DELETE": "delete", "GET": "list", "POST": "create", "PUT": "update"}
REFUSED: dict[str, tuple[str, str, Object]] = {
    "replicas": ("PATCH", DEPLOYMENT, {"spec": {"replicas": 1}}),
    "scale": ("PATCH", f"{DEPLOYMENT}/scale", {"spec": {"replicas": 1}}),
    "status": ("PATCH", f"{DEPLOYMENT}/status", {"status": {"replicas": 1}}),
    "another annotation": ("PATCH", DEPLOYMENT, noted(other="1")),
    "the end of another annotation": ("PATCH", DEPLOYMENT, noted(kept=None)),
    "a very long annotation": ("PATCH", DEPLOYMENT, noted(**{objects.MIGRATION: "x" * 70_000})),
    "an Event about a Secret": (
        "POST",
        f"/apis/events.k8s.io/v1/namespaces/{NAMESPACE}/events",
        {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": "forged", "namespace": NAMESPACE},
            "eventTime": "2026-01-01T00:00:00.000000Z",
            "type": "Normal",
            "action": "x",
            "reason": "x",
            "reportingController": "x",
            "reportingInstance": "x",
            "regarding": {"kind": "Secret", "namespace": NAMESPACE, "name": "x"},
        },
    ),
    "labels": ("PATCH", DEPLOYMENT, {"metadata": {"labels": {"other": "1"}}}),
    "finalizers": ("PATCH", DEPLOYMENT, {"metadata": {"finalizers": ["example.com/x"]}}),
    "deletion": ("DELETE", DEPLOYMENT, {}),
    "placements": ("PATCH", FEDERATED, {"spec": {"placements": []}}),
    "another member's report": ("PATCH", f"{PATH}/{VKE2}/status", {"status": {"trouble": "x"}}),
    "a report of a stranger": ("POST", PATH, {**REPORT, "metadata": {"name": "stranger"}}),
    "another member's lease": (
        "PUT",
        f"{LEASES}/{PREFIX}{VKE2}",
        {**LEASE},
    ),
    "a lease of a stranger": ("POST", LEASES, {**LEASE, "metadata": {"name": "stranger"}}),
    "secrets": ("GET", f"/api/v1/namespaces/{AGENTS}/secrets", {}),
}


@pytest.mark.timeout(300)
async def test_what_an_agent_may_not_do_is_refused(
    members_and_hub: Fleet, limiting: dict[str, Container], tmp_path: Path
) -> None:
    hub = members_and_hub.hub
    assert set(limiting) == set(MEMBERS)
    hub.apply(propagation("rights", threshold="2m"), override("annotations"))
    hub.apply(workload(10, "rights", "annotations"))
    hub.kubectl("annotate", "deployment", WORKLOAD, "kept=1")
    file = tmp_path / "agent.kubeconfig"
    file.write_text(hub_kubeconfig(members_and_hub, VKE1))
    async with ApiSession(Credentials(file)) as session:
        lease = hub.kubectl("get", "lease", f"{PREFIX}{VKE2}", "-n", AGENTS, "-o", "json")
        REFUSED["another member's lease"][2]["metadata"] = json.loads(lease)["metadata"]
        for what, (method, path, body) in REFUSED.items():
            kind = MERGE_PATCH if method == "PATCH" else JSON
            with pytest.raises(ApiError) as refused:
                await session.request(method, path, body=body or None, content_type=kind)
            told = str(refused.value)
            assert "denied request" in told or f"cannot {_VERBS[method]}" in told, what
            print(f"{what}: {refused.value}")
        limits = noted(**{objects.MIGRATION: '{"replicasMigrations":[]}'})
        await session.request("PATCH", DEPLOYMENT, body=limits, content_type=MERGE_PATCH)
    hub.kubectl("delete", "deployment", WORKLOAD)
