"""The extender's HTTP interface: filter, preempt and bind for kube-scheduler, probes, metrics.

Every failure is answered in one of two ways. What kube-scheduler could have sent gets status 200
and an `Error`, whose text the scheduler shows with the pod. Anything else gets a 4xx and
`{"error": reason}`. Neither changes anything.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from extender.binding import BIND_SECONDS, Binding
from extender.filtering import Filtering
from extender.metrics import Metrics
from extender.preempting import Preempting
from spillover.api.extender import (
    BindArgs,
    BindResult,
    FilterArgs,
    FilterResult,
    PreemptArgs,
    PreemptResult,
)
from spillover.kube.reflector import Reflector

LARGEST_REQUEST = 16 * 2**20
"""Bytes: a pod is at most 1.5 MiB in etcd, and 5,000 node names are 1.3 MB."""

HOLD_SECONDS = 14.0
"""From a filter call to the end of its wait for the first lists: one second less than the
scheduler's httpTimeout."""

READ_SECONDS = 10.0
"""For the whole body of a request, which comes from the same host."""

NOT_SYNCED = "Spillover has not read all pods, nodes and policies yet"

T = TypeVar("T")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_log = logging.getLogger(__name__)


class Readiness:
    """Synced when every reflector has its first list; ready while none of them has lost touch."""

    def __init__(self, watches: Sequence[Reflector[Any]]) -> None:
        self._watches = watches

    def obstacle(self) -> str | None:
        """Why this extender is not ready, or None."""
        for watch in self._watches:
            if not watch.synced.is_set():
                return f"the first list of {watch.path} is not complete"
            if watch.silence() > watch.limits.silence:
                return f"nothing heard of {watch.path} for {watch.silence():.0f} s"
        return None

    async def synced(self, seconds: float) -> bool:
        """Whether every first list is complete, now or within some seconds."""
        try:
            async with asyncio.timeout(seconds):
                for watch in self._watches:
                    await watch.synced.wait()
        except TimeoutError:
            return False
        return True


def scheduler_app(
    filtering: Filtering,
    preempting: Preempting,
    binding: Binding,
    ready: Readiness,
    metrics: Metrics,
    clock: Callable[[], float],
) -> web.Application:
    """What kube-scheduler talks to. Requests carry no credentials: serve it on loopback only."""

    async def filter_(request: web.Request) -> web.Response:
        with metrics.filter_seconds.time():
            deadline = clock() + HOLD_SECONDS
            args = await _decoded(request, FilterArgs)
            if not await ready.synced(deadline - clock()):
                return _json(FilterResult(error=NOT_SYNCED))
            return _json(filtering.filter(args))

    async def preempt(request: web.Request) -> web.Response:
        deadline = clock() + HOLD_SECONDS
        args = await _decoded(request, PreemptArgs)
        if not await ready.synced(deadline - clock()):
            return _json(PreemptResult())  # there is no field for an error
        return _json(preempting.preempt(args))

    async def bind(request: web.Request) -> web.Response:
        with metrics.bind_seconds.time():
            deadline = clock() + BIND_SECONDS
            args = await _decoded(request, BindArgs)
            if not await ready.synced(BIND_SECONDS / 2):
                return _json(BindResult(error=NOT_SYNCED))
            return _json(await binding.bind(args, deadline))

    app = web.Application(client_max_size=LARGEST_REQUEST, middlewares=[_errors_as_json])
    app.add_routes(
        [web.post("/filter", filter_), web.post("/preempt", preempt), web.post("/bind", bind)]
    )
    return app


def health_app(ready: Readiness, metrics: Metrics) -> web.Application:
    """Probes and metrics, safe to serve to the Pod's network."""

    async def healthz(_: web.Request) -> web.Response:
        # Answered by the event loop that does all the work: while that is stuck, there is none.
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        obstacle = ready.obstacle()
        return web.Response(status=503 if obstacle else 200, text=f"{obstacle or 'ok'}\n")

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


async def _decoded(request: web.Request, kind: type[T]) -> T:
    if "Content-Encoding" in request.headers:
        raise web.HTTPUnsupportedMediaType(text="Content-Encoding: none is supported")
    try:
        async with asyncio.timeout(READ_SECONDS):
            body = await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout(text=f"no whole body within {READ_SECONDS:.0f} s") from None
    except web.RequestPayloadError as error:
        raise web.HTTPBadRequest(text=f"no whole body: {error}") from error
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        hint = _NAMES_WANTED if str(error) in _WITHOUT_NAMES else ""
        raise web.HTTPBadRequest(text=f"{kind.__name__}: {error}{hint}") from error


_WITHOUT_NAMES = (
    "Object missing required field `NodeNames`",
    "Expected `array`, got `null` - at `$.NodeNames`",
)
_NAMES_WANTED = "; the scheduler's configuration must say nodeCacheCapable: true for this extender"


def _json(answer: msgspec.Struct) -> web.Response:
    return web.Response(body=msgspec.json.encode(answer), content_type="application/json")


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPError as error:
        return web.json_response({"error": error.text}, status=error.status, headers=_kept(error))
    except ConnectionError:
        raise  # nobody is left to be answered
    except Exception:  # noqa: BLE001 - a bug: logged whole, and answered like any failure
        _log.exception("request failed: %s %s", request.method, request.path)
        return web.json_response({"error": "internal error: see the extender's log"}, status=500)


def _kept(error: web.HTTPError) -> dict[str, str]:
    """The headers that belong to a status: which methods a path allows."""
    return {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
