"""The extender's HTTP interface: /filter and /bind for kube-scheduler, probes and metrics."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from extender.binding import BIND_SECONDS, Binding
from extender.filtering import Filtering
from extender.metrics import Metrics
from spillover.api.extender import BindArgs, FilterArgs, FilterResult

LARGEST_REQUEST = 16 * 2**20
"""Bytes: a pod is at most 1.5 MiB in etcd, and 5,000 node names are 1.3 MB."""

HOLD_SECONDS = 14.0
"""How long filter waits for the first lists: one second less than the scheduler's httpTimeout."""

T = TypeVar("T")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Readiness:
    """Ready when every reflector has its first list."""

    def __init__(self, synced: Sequence[asyncio.Event]) -> None:
        self._synced = synced

    def __bool__(self) -> bool:
        return all(event.is_set() for event in self._synced)

    async def wait(self) -> None:
        for event in self._synced:
            await event.wait()


def scheduler_app(
    filtering: Filtering,
    binding: Binding,
    ready: Readiness,
    metrics: Metrics,
    clock: Callable[[], float],
) -> web.Application:
    """What kube-scheduler talks to. Requests carry no credentials: serve it on loopback only."""

    async def filter_(request: web.Request) -> web.Response:
        with metrics.filter_seconds.time():
            args = _decoded(await request.read(), FilterArgs)
            await _hold(ready, HOLD_SECONDS)
            try:
                return _json(filtering.filter(args))
            except ValueError as error:
                return _json(FilterResult(error=f"Pod: {error}"))

    async def bind(request: web.Request) -> web.Response:
        with metrics.bind_seconds.time():
            deadline = clock() + BIND_SECONDS
            args = _decoded(await request.read(), BindArgs)
            await _hold(ready, BIND_SECONDS / 2)
            return _json(await binding.bind(args, deadline))

    app = web.Application(client_max_size=LARGEST_REQUEST, middlewares=[_errors_as_json])
    app.add_routes([web.post("/filter", filter_), web.post("/bind", bind)])
    return app


def health_app(ready: Readiness, metrics: Metrics) -> web.Application:
    """Probes and metrics, safe to serve to the Pod's network."""

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        if ready:
            return web.Response(text="ok\n")
        return web.Response(status=503, text="the first lists are not complete\n")

    async def show_metrics(_: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    app = web.Application()
    app.add_routes(
        [
            web.get("/healthz", healthz),
            web.get("/readyz", readyz),
            web.get("/metrics", show_metrics),
        ]
    )
    return app


async def _hold(ready: Readiness, seconds: float) -> None:
    if ready:
        return
    try:
        async with asyncio.timeout(seconds):
            await ready.wait()
    except TimeoutError:
        raise web.HTTPServiceUnavailable(text="the first lists are not complete") from None


def _decoded(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        raise web.HTTPBadRequest(text=f"{kind.__name__}: {error}") from error


def _json(answer: msgspec.Struct) -> web.Response:
    return web.Response(body=msgspec.json.encode(answer), content_type="application/json")


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPError as error:
        return web.json_response({"error": error.text}, status=error.status)
