"""One cluster with real containers for all scenarios, and what each scenario leaves."""

import re
import uuid
from collections.abc import Iterator

import pytest

from harness import kind
from harness.client import Client
from harness.node import host
from harness.node.cluster import NodeCluster
from harness.site import Site, on_a_node, on_kind


@pytest.fixture(scope="session")
def site(request: pytest.FixtureRequest, cluster_name: str) -> Iterator[Site]:
    """Skipped, with the reason, where there can be none."""
    if request.config.getoption("--containers") == "kind":
        if reason := kind.obstacle():
            pytest.skip(reason)
        with on_kind(f"{cluster_name}-kind") as site:
            yield site
        return
    if reason := host.obstacle():
        pytest.skip(reason)
    with on_a_node(NodeCluster(f"{cluster_name}-node")) as site:
        yield site


@pytest.fixture
def own_node(site: Site) -> NodeCluster:
    """The node, for what cannot be done to a cluster of somebody else's."""
    if not isinstance(site.client, NodeCluster):
        pytest.skip("kind gives no hold of the API server's process")
    return site.client


@pytest.fixture
def client(site: Site) -> Client:
    return site.client


@pytest.fixture
def namespace(client: Client, request: pytest.FixtureRequest) -> Iterator[str]:
    words = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:40].strip("-")
    name = f"{words}-{uuid.uuid4().hex[:6]}"
    client.kubectl("create", "namespace", name)
    client.kubectl("wait", "--for=create", "sa/default", "-n", name, "--timeout=30s")
    try:
        yield name
    finally:
        for kind in ("deployments", "pods"):
            client.kubectl("delete", kind, "--all", "-n", name, "--timeout=90s")
        client.kubectl("delete", "namespace", name, "--wait=false")
        client.kubectl("delete", "nodes", "-l", "!kubernetes.io/os", "--wait=true")
