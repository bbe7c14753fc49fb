"""One cluster with the predictive autoscaler for all of its tests, and a namespace for each."""

import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from ahpa.site import Site, site
from harness import scenes
from harness.cluster import Options

Object = dict[str, Any]

STEP = 1
"""Seconds between two samples: a day has 24 minutes."""


@pytest.fixture(scope="package")
def whole(cluster_name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Looks at each object every second, at days of 24 minutes."""
    folder = tmp_path_factory.mktemp("front-proxy")
    with site(
        cluster_name, folder, "--period=1", f"--season={1440 * STEP}",
        options=lambda own: Options(api_server_arguments=own, rights=True),
    ) as found:  # fmt: skip
        found.cluster.apply(scenes.node("worker", gpus=0))
        yield found


@dataclass
class Place:
    """A namespace of a test, with a Deployment in it."""

    site: Site
    namespace: str

    def deploy(self, name: str, replicas: int) -> str:
        """Makes a Deployment, and returns the name of its ReplicaSet."""
        cluster = self.site.cluster
        cluster.apply(
            scenes.deployment(self.namespace, name, "default-scheduler", replicas=replicas, gpus=0)
        )

        def replica_set() -> str:
            return cluster.kubectl(
                "get", "rs", "-n", self.namespace, "-l", f"app={name}",
                "-o", "jsonpath={.items[0].metadata.name}", check=False,
            )  # fmt: skip

        found: str = self.site.until(replica_set, 30, "the ReplicaSet")
        return found

    def replicas(self, name: str) -> int:
        text = self.site.cluster.kubectl(
            "get", "deployment", name, "-n", self.namespace, "-o", "jsonpath={.spec.replicas}"
        )
        return int(text)


@pytest.fixture
def place(whole: Site, request: pytest.FixtureRequest) -> Iterator[Place]:
    words = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:40].strip("-")
    namespace = f"{words}-{uuid.uuid4().hex[:6]}"
    whole.cluster.kubectl("create", "namespace", namespace)
    try:
        yield Place(whole, namespace)
    finally:
        whole.exporter.set(namespace, {})
        whole.cluster.kubectl("delete", "namespace", namespace, "--wait=false")
