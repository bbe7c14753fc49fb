"""One cluster with real containers for all scenarios, and what each scenario leaves."""

import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import kind
from harness.client import Client
from harness.node import host
from harness.node.cluster import NodeCluster
from harness.site import Site, on_a_node, on_kind

_SECONDS = 1800
"""The first test of a run pays for the cluster: a base, an image, a node."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(_SECONDS))


@pytest.fixture(scope="session")
def site(request: pytest.FixtureRequest, cluster_name: str) -> Iterator[Site]:
    """Skipped, with the reason, where there can be none."""
    if request.config.getoption("--containers") == "kind":
        if reason := kind.obstacle():
            pytest.skip(reason)
        with on_kind(f"{cluster_name}-kind") as (cluster, site):
            yield site
            if request.session.testsfailed:
                cluster.keep_logs()
        return
    if reason := host.obstacle():
        pytest.skip(reason)
    node = NodeCluster(f"{cluster_name}-node")
    with on_a_node(node) as site:
        yield site
        if request.session.testsfailed:
            node.keep_logs()


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
