"""Every end-to-end test has a namespace of its own, and nodes that go with it."""

import re
import uuid
from collections.abc import Iterator

import pytest

from harness.cluster import Cluster
from harness.stage import Scene, clear
from harness.watch import Watch


@pytest.fixture
def scene(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Scene]:
    words = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:40].strip("-")
    namespace = f"{words}-{uuid.uuid4().hex[:6]}"
    cluster.kubectl("create", "namespace", namespace)
    cluster.kubectl("wait", "--for=create", "sa/default", "-n", namespace, "--timeout=30s")
    try:
        with Watch(cluster, f"/api/v1/namespaces/{namespace}/pods") as pods:
            yield Scene(cluster, namespace, pods)
            clear(cluster, namespace)
            pods.wait_for(lambda left: not left, 60, "all pods of the test gone")
    finally:
        clear(cluster, namespace)
        cluster.kubectl("delete", "namespace", namespace, "--wait=false")
        cluster.kubectl("delete", "nodes", "--all", "--wait=true")
