"""The reflector against a real API server: what it has seen is what a fresh list gives."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Set
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from harness.cluster import Cluster, Options, running
from harness.proxy import Answer, Cut, Fate, From, Proxy, Request, Silence, Treatment
from spillover.kube.reading import Unreadable
from spillover.kube.reflector import Limits, Reflector
from spillover.kube.session import ApiSession
from subject import always, through_a_proxy

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

    def unreadable(self, found: Unreadable) -> None:
        raise AssertionError(f"nothing here is unreadable: {found}")

    def key(self, item: Object) -> str:
        name: str = item["metadata"]["name"]
        return name

    def keep(self, listed: Set[str], version: int) -> None:
        assert version > 0
        self.objects = {name: item for name, item in self.objects.items() if name in listed}
        self.changed.set()

    async def becomes(self, expected: dict[str, Any]) -> None:
        """Waits until the data of all objects are as expected."""
        async with asyncio.timeout(30):
            while {name: item.get("data") for name, item in self.objects.items()} != expected:
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def mirroring(
    session: ApiSession, namespace: str, limits: Limits | None = None
) -> AsyncIterator[tuple[Mirror, Any]]:
    mirror = Mirror()
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    decode = partial(msgspec.json.decode, type=dict[str, Any])
    reflector = Reflector(
        session, path, decode, mirror, Random(1), time.monotonic, limits or Limits()
    )
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


THINGS = "things.reflector.test"


def crd_of_things() -> Object:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {
        "name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema},
    }  # fmt: skip
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": THINGS},
        "spec": {
            "group": "reflector.test",
            "scope": "Namespaced",
            "names": {"kind": "Thing", "plural": "things"},
            "versions": [version],
        },
    }


class Absent(Mirror):
    """A sink of a collection that may not exist."""

    def keep(self, listed: Set[str], version: int) -> None:
        super().keep(listed, max(version, 1))


async def test_a_collection_whose_crd_comes_and_goes(
    bare_cluster: Cluster, session: ApiSession, namespace: str
) -> None:
    mirror = Absent()
    decode = partial(msgspec.json.decode, type=dict[str, Any])
    reflector = Reflector(
        session, "/apis/reflector.test/v1/things", decode, mirror, Random(1), time.monotonic,
        may_be_absent=True,
    )  # fmt: skip
    task = asyncio.create_task(reflector.run())
    try:
        await asyncio.wait_for(reflector.synced.wait(), 30)
        assert reflector.is_current()
        for value in ("first", "second"):
            await asyncio.to_thread(bare_cluster.apply, crd_of_things())
            await asyncio.to_thread(
                bare_cluster.kubectl,
                "wait", "--for=condition=Established", f"crd/{THINGS}", "--timeout=30s",
            )  # fmt: skip
            metadata = {"name": "one", "namespace": namespace}
            thing = {"apiVersion": "reflector.test/v1", "kind": "Thing", "metadata": metadata}
            await asyncio.to_thread(bare_cluster.create, {**thing, "data": value})
            await mirror.becomes({"one": value})
            await asyncio.to_thread(bare_cluster.kubectl, "delete", "crd", THINGS)
            await mirror.becomes({})
        assert reflector.relists == 3, "one at the start, and one for each time that it came"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


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


CHANGES_PER_SECOND = 50


async def test_a_watch_is_renewed_without_a_gap(
    bare_cluster: Cluster, namespace: str, tmp_path: Path, *, full: bool
) -> None:
    """While a watch is current, neither filter nor bind waits for it."""
    renewals = 20 if full else 4
    bare_cluster.kubectl("wait", "--for=create", "cm/kube-root-ca.crt", "-n", namespace)
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    async with (
        through_a_proxy(bare_cluster, tmp_path) as (proxy, session),
        mirroring(session, namespace, Limits(stream=(3, 3))) as (mirror, reflector),
    ):
        async with asyncio.timeout(30):
            while not reflector.is_current():  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.02)
        before, number, begun = watches(proxy), 0, time.monotonic()
        while watches(proxy) < before + renewals:
            await session.request("POST", path, body=config_map(namespace, f"cm-{number}", "a"))
            assert reflector.is_current(), f"after {number} changes"
            number += 1
            await asyncio.sleep(max(0.0, begun + number / CHANGES_PER_SECOND - time.monotonic()))
        took = time.monotonic() - begun
        print(f"{renewals} renewals in {took:.0f} s, current throughout {number} changes")
        await mirror.becomes(await asyncio.to_thread(fresh, bare_cluster, namespace))
        assert reflector.relists == 1
        assert took > renewals  # they were renewed for their time, not for a fault


def watches(proxy: Proxy) -> int:
    return sum(1 for _, request in proxy.requests if request.is_watch)


REQUESTS_IN_TEN_SECONDS = 30
"""Up to a list and a watch for each try: about five while the waits grow to 5 s, then one in 2.5 s
on average."""

HTML = "<html><body><h1>502 Bad Gateway</h1></body></html>"
FAULTS: dict[str, Callable[[Request], Treatment]] = {
    "watches cut at once": lambda r: Cut(0) if r.is_watch else Fate.PASS,
    "watches cut in the middle of a line": lambda r: Cut(1500) if r.is_watch else Fate.PASS,
    "watches silent from the start": lambda r: Silence(0) if r.is_watch else Fate.PASS,
    "watches silent in the middle of a line": lambda r: Silence(1500) if r.is_watch else Fate.PASS,
    "no connection": lambda _: Fate.LOSE_REQUEST,
    "lost answers": lambda _: Fate.LOSE_ANSWER,
    "too busy": lambda _: Answer(429, "slow down", "text/plain", retry_after="1"),
    "internal errors": lambda _: Answer(500, HTML, "text/html"),
    "HTML with status 200": lambda _: Answer(200, HTML, "text/html"),
    "a redirect": lambda _: Answer(302, ""),
    "not a list": lambda _: Answer(200, '{"kind": "Status", "metadata": {}}'),
    "a list without a version": lambda _: Answer(200, '{"kind": "ConfigMapList", "metadata": {}}'),
    "unknown events": lambda _: Answer(200, '{"type": "X", "object": {}}\n'),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_it_survives(
    bare_cluster: Cluster, namespace: str, tmp_path: Path, fault: str, *, full: bool
) -> None:
    """The fault strikes from the first request on, or after the first list and watch."""
    bare_cluster.kubectl("wait", "--for=create", "cm/kube-root-ca.crt", "-n", namespace)
    rounds = 30 if full else 3
    async with through_a_proxy(bare_cluster, tmp_path) as (proxy, session):
        proxy.fate = FAULTS[fault]
        async with mirroring(session, namespace, Limits(silence=2.0)) as (mirror, reflector):
            for number in range(rounds):
                await asyncio.to_thread(churn, bare_cluster, namespace, number)
                await asyncio.sleep(0.5)
            during = [begun for begun, _ in proxy.requests]
            proxy.fate = always(Fate.PASS)
            await asyncio.wait_for(reflector.synced.wait(), 30)
            await asyncio.to_thread(churn, bare_cluster, namespace, rounds)
            await mirror.becomes(await asyncio.to_thread(fresh, bare_cluster, namespace))
    assert during
    busiest = max(sum(begun <= time < begun + 10 for time in during) for begun in during)
    print(f"{fault}: {len(during)} requests, at most {busiest} in 10 s")
    assert busiest <= REQUESTS_IN_TEN_SECONDS


def churn(cluster: Cluster, namespace: str, number: int) -> None:
    """Adds one, changes one, deletes one."""
    cluster.apply(
        config_map(namespace, f"cm-{number}", "new"), config_map(namespace, "cm-0", f"at {number}")
    )
    cluster.kubectl("delete", "cm", f"cm-{number // 2}", "-n", namespace, "--ignore-not-found")


@pytest.mark.parametrize("expired", [False, True])
async def test_it_survives_a_restart_of_the_api_server(
    cluster_name: str, tmp_path: Path, *, expired: bool, full: bool
) -> None:
    """A restarted API server knows no version from before: `expired` asks for one, which is a real
    410 for every watch until the fault ends."""
    seconds = 20 if full else 3
    cluster = Cluster(f"{cluster_name}-restart")
    options = Options(components=False)
    with running(cluster, options):
        cluster.create(*(config_map("default", f"cm-{n}", "a") for n in range(5)))
        async with (
            through_a_proxy(cluster, tmp_path) as (proxy, session),
            mirroring(session, "default") as (mirror, reflector),
        ):
            await mirror.becomes(await asyncio.to_thread(fresh, cluster, "default"))
            before, lists = len(proxy.requests), reflector.relists
            if expired:
                proxy.fate = lambda request: From(1) if request.is_watch else Fate.PASS
            begun = time.monotonic()
            await asyncio.to_thread(cluster.restart, "kube-apiserver", lambda: time.sleep(seconds))
            await asyncio.to_thread(until_it_answers, cluster)
            down = time.monotonic() - begun
            during = len(proxy.requests) - before
            await asyncio.to_thread(churn, cluster, "default", 3)
            await mirror.becomes(await asyncio.to_thread(fresh, cluster, "default"))
            if expired:
                async with asyncio.timeout(60):
                    while reflector.relists < lists + 2:  # noqa: ASYNC110 - it tells nobody
                        await asyncio.sleep(0.1)
                proxy.fate = always(Fate.PASS)
                await asyncio.to_thread(churn, cluster, "default", 4)
                await mirror.becomes(await asyncio.to_thread(fresh, cluster, "default"))
    print(f"API server down for {down:.1f} s: {during} requests meanwhile")
    assert during <= REQUESTS_IN_TEN_SECONDS * (1 + down / 10)


def until_it_answers(cluster: Cluster) -> None:
    deadline = time.monotonic() + 60
    while cluster.kubectl("get", "--raw", "/readyz", check=False) != "ok":
        assert time.monotonic() < deadline, "the API server is not ready again"
        time.sleep(0.2)
