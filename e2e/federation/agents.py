"""Agents in the members of a fleet, as manifests/overlays/federation-kubeadmiral has them."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import yaml

from federation.fleet import VKE1, VKE2, Fleet
from harness.client import Client
from harness.cluster import AGENTS
from harness.containers import Container
from harness.places import ROOT

Object = dict[str, Any]

OVERLAY = ROOT / "manifests" / "overlays" / "federation-kubeadmiral"
_NUMBER = 100
"""Of the agent's address among those of its member."""


DEAD_SECONDS, REST_SECONDS = 20, 20
"""Of the agents that limit."""


@contextmanager
def limiting_agents(fleet: Fleet) -> Iterator[dict[str, Container]]:
    """Agents in the mode limit. The policies say that the last units of the VKE clusters do not
    grow."""
    for member in (VKE1, VKE2):
        fleet.declare_size(member, "*=2")
    times = (
        f"--dead-after-seconds={DEAD_SECONDS}",
        f"--scheduler-rest-seconds={REST_SECONDS}",
        "--event-after-seconds=1",
    )
    with agents(fleet, "limit", *times) as found:
        yield found
    for member in (VKE1, VKE2):
        fleet.declare_size(member, None)


@contextmanager
def agents(fleet: Fleet, mode: str, *arguments: str) -> Iterator[dict[str, Container]]:
    """One in each member while the block runs, in this mode and with more arguments."""
    apply(fleet.hub, "hub-limit" if mode == "limit" else "hub")
    with ExitStack() as stack:
        yield {
            member: stack.enter_context(agent(fleet, member, mode, *arguments))
            for member in fleet.members
        }


@contextmanager
def agent(fleet: Fleet, member: str, mode: str, *arguments: str) -> Iterator[Container]:
    cluster = fleet.members[member]
    objects = rendered(cluster, "member")
    cluster.apply(*(each for each in objects if each["kind"] != "Deployment"))
    kubeconfig = hub_kubeconfig(fleet, member)
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "spillover-hub", "namespace": "spillover-system"},
        "stringData": {"kubeconfig": kubeconfig},
    }
    cluster.apply(secret)
    (deployment,) = (each for each in objects if each["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    container["args"] = [
        f"--mode={mode}" if each.startswith("--mode=") else each for each in container["args"]
    ]
    container["args"] += arguments
    for each in container["env"]:
        if each["name"] == "SPILLOVER_MEMBER":
            each["value"] = member
    name = cluster.start(deployment, _NUMBER)
    try:
        yield Container(cluster, name, "agent")
    finally:
        cluster.stop(name)


def hub_kubeconfig(fleet: Fleet, member: str) -> str:
    """A kubeconfig for the hub with the account of the member's agent."""
    hub = fleet.hub
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": member, "namespace": AGENTS},
    }
    hub.apply(account)
    token = hub.kubectl("create", "token", member, "-n", AGENTS, "--duration=24h").strip()
    admin = yaml.safe_load(hub.kubeconfig.read_text())
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "hub", "cluster": admin["clusters"][0]["cluster"]}],
            "users": [{"name": member, "user": {"token": token}}],
            "contexts": [{"name": "hub", "context": {"cluster": "hub", "user": member}}],
            "current-context": "hub",
        }
    )


def rendered(client: Client, part: str) -> list[Object]:
    return list(yaml.safe_load_all(client.kubectl("kustomize", str(OVERLAY / part))))


def apply(client: Client, part: str) -> None:
    objects = rendered(client, part)
    first = ("CustomResourceDefinition", "Namespace")
    client.apply(*(each for each in objects if each["kind"] in first))
    client.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
    client.apply(*(each for each in objects if each["kind"] not in first))
