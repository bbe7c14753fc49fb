"""One component against a real API server, with nothing else of Spillover running."""

import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from harness.cluster import Cluster
from spillover.kube.credentials import Credentials
from spillover.kube.session import ApiSession


@pytest.fixture
def namespace(bare_cluster: Cluster) -> Iterator[str]:
    name = f"test-{uuid.uuid4().hex[:8]}"
    bare_cluster.kubectl("create", "namespace", name)
    bare_cluster.kubectl("wait", "--for=create", "sa/default", "-n", name, "--timeout=30s")
    yield name
    bare_cluster.kubectl("delete", "pods", "--all", "-n", name, "--force", "--wait=false")
    bare_cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def credentials(bare_cluster: Cluster) -> Credentials:
    return Credentials(bare_cluster.kubeconfig)


@pytest.fixture
async def session(credentials: Credentials) -> AsyncIterator[ApiSession]:
    async with ApiSession(credentials) as session:
        yield session
