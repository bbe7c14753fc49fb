"""A pod for a test to bind, and a proxy whose Bindings meet the fate that the test sets."""

import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from harness import scenes
from harness.cluster import Cluster
from harness.proxy import Fate, Proxy, Request
from spillover.kube.binder import Order
from spillover.kube.credentials import Credentials
from spillover.kube.session import ApiSession

Object = dict[str, Any]


class Subject:
    """One pod that nobody else schedules, and orders to bind it."""

    def __init__(self, cluster: Cluster, namespace: str, name: str = "one", **fields: Any) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.name = name
        cluster.create(scenes.pod(namespace, name, "nobody", gpus=0, **fields))

    def now(self) -> Object:
        found: Object = json.loads(
            self.cluster.kubectl("get", "pod", self.name, "-n", self.namespace, "-o", "json")
        )
        return found

    def node(self) -> str:
        return str(self.now()["spec"].get("nodeName", ""))

    def order(self, **fields: Any) -> Order:
        metadata = self.now()["metadata"]
        order = Order(
            namespace=self.namespace,
            name=self.name,
            uid=metadata["uid"],
            version=int(metadata["resourceVersion"]),
            node="node-0",
            labels={"tier": "eci"},
            annotations={"spillover.dev/unit": "eci-1"},
            tolerate=(),
            deadline=time.monotonic() + 10,
        )
        return replace(order, **fields)

    def touch(self) -> None:
        self.cluster.kubectl(
            "annotate", "pod", self.name, "-n", self.namespace, f"touched={time.monotonic_ns()}",
            "--overwrite",
        )  # fmt: skip


@asynccontextmanager
async def through_a_proxy(
    cluster: Cluster, folder: Path
) -> AsyncIterator[tuple[Proxy, ApiSession]]:
    """A session with the API server of a cluster, by way of a proxy that at first loses nothing."""
    proxy = Proxy(always(Fate.PASS))
    async with proxy.before(cluster.kubeconfig):
        file = folder / "kubeconfig"
        config = yaml.safe_load(cluster.kubeconfig.read_text())
        config["clusters"][0]["cluster"] = {"server": proxy.url}
        file.write_text(yaml.safe_dump(config))
        async with ApiSession(Credentials(file)) as session:
            yield proxy, session


def always(fate: Fate) -> Callable[[Request], Fate]:
    return lambda _: fate


def bindings(fate: Fate, others: Fate = Fate.PASS) -> Callable[[Request], Fate]:
    return lambda request: fate if request.path.endswith("/binding") else others
