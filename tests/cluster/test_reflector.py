"""The reflector against a real API server: what it has seen is what a fresh list gives."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from random import Random
from typing import Any

import msgspec

from harness.cluster import Cluster
from spillover.kube.reflector import Reflector
from spillover.kube.session import ApiSession

Object = dict[str, Any]


class Mirror:
    """A sink that knows what it was told, by name."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}
        self.changed = asyncio.Event()

    def put(self, item: Object) -> None:
        self.objects[item["metadata"]["name"]] = item
        self.changed.set()

    def drop(self, item: Object) -> None:
        self.objects.pop(item["metadata"]["name"], None)
        self.changed.set()

    def keep(self, items: list[Object], version: int) -> None:
        assert version > 0
        listed = {item["metadata"]["name"] for item in items}
        self.objects = {name: item for name, item in self.objects.items() if name in listed}
        self.changed.set()

    async def becomes(self, expected: dict[str, Any]) -> None:
        """Waits until the data of all objects are as expected."""
        async with asyncio.timeout(30):
            while {name: item.get("data") for name, item in self.objects.items()} != expected:
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def mirroring(session: ApiSession, namespace: str) -> AsyncIterator[tuple[Mirror, Any]]:
    mirror = Mirror()
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    decode = partial(msgspec.json.decode, type=dict[str, Any])
    reflector = Reflector(session, path, decode, mirror, Random(1), time.monotonic)
    task = asyncio.create_task(reflector.run())
    try:
        yield mirror, reflector
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def config_map(namespace: str, name: str, value: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": {"value": value},
    }


def fresh(cluster: Cluster, namespace: str) -> dict[str, Any]:
    items = json.loads(cluster.kubectl("get", "cm", "-n", namespace, "-o", "json"))["items"]
    return {item["metadata"]["name"]: item.get("data") for item in items}


async def test_it_follows_every_change(
    bare_cluster: Cluster, session: ApiSession, namespace: str
) -> None:
    bare_cluster.kubectl("wait", "--for=create", "cm/kube-root-ca.crt", "-n", namespace)
    async with mirroring(session, namespace) as (mirror, reflector):
        await asyncio.wait_for(reflector.synced.wait(), 30)
        bare_cluster.create(*(config_map(namespace, f"cm-{n}", "a") for n in range(5)))
        bare_cluster.apply(config_map(namespace, "cm-1", "b"))
        bare_cluster.kubectl("delete", "cm", "cm-2", "cm-3", "-n", namespace)
        bare_cluster.create(config_map(namespace, "cm-3", "again"))
        expected = fresh(bare_cluster, namespace)
        assert expected["cm-1"] == {"value": "b"}
        await mirror.becomes(expected)
        assert reflector.relists == 1


async def test_it_lists_in_pages(
    bare_cluster: Cluster, session: ApiSession, namespace: str
) -> None:
    bare_cluster.kubectl("wait", "--for=create", "cm/kube-root-ca.crt", "-n", namespace)
    bare_cluster.create(*(config_map(namespace, f"cm-{n}", "a") for n in range(1100)))
    async with mirroring(session, namespace) as (mirror, reflector):
        await asyncio.wait_for(reflector.synced.wait(), 30)
        assert len(mirror.objects) == 1101
        assert {n: o.get("data") for n, o in mirror.objects.items()} == fresh(
            bare_cluster, namespace
        )
