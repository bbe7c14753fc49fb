"""Serves probes and metrics in a separate thread with its own event loop.

Every client in the Pod network can connect. A client that reads slowly, or that opens connections
and sends nothing, delays only other readers of metrics: the number of connections is small, and no
connection lives long.

    the thread's loop                         the service's loop
    /healthz ─────── does it answer? ───────▶ yes, once it comes to it
    /readyz ──────── what is missing? ──────▶ the reason
    /metrics ─────── once a second ─────────▶ the text
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import uvloop
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

ANSWER_SECONDS = 4.0
"""A probe waits for 5 s. An event loop that does not answer for this long is stuck."""
METRICS_SECONDS = 1.0
PROBE_SECONDS = 0.2
"""METRICS_SECONDS and PROBE_SECONDS: for this long all clients get the same answer again."""
_LOOK_SECONDS = 0.5
_END_SECONDS = 5.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of the connections."""

    connections: int = 64
    """The largest number of connections."""
    seconds: float = 30.0
    """The longest life of one connection."""


@dataclass(frozen=True, slots=True)
class Health:
    """The sources of the answers. All of them are called in the service's event loop."""

    obstacle: Callable[[], str | None]
    """Returns why the service is not ready, or None."""
    registry: CollectorRegistry
    more_metrics: Callable[[], bytes] = bytes
    """Returns further metrics in the text format of Prometheus."""

    async def ready(self) -> str:
        """The obstacle, or an empty text."""
        return self.obstacle() or ""

    async def metrics(self) -> bytes:
        return generate_latest(self.registry) + self.more_metrics()


async def serve_health(health: Health, address: str, port: int, limits: Limits = Limits()) -> None:
    """Serves until it is cancelled. Raises OSError if it cannot listen on the address."""
    service = asyncio.get_running_loop()
    ended: Future[None] = Future()
    stop: Future[None] = Future()

    def work() -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_serve(health, service, address, port, limits, stop))
        except BaseException as error:  # noqa: BLE001 - raised again where the service waits
            ended.set_exception(error)
        else:
            ended.set_result(None)

    thread = threading.Thread(target=work, name="health", daemon=True)
    thread.start()
    try:
        await asyncio.shield(asyncio.wrap_future(ended))
    finally:
        stop.set_result(None)
        await asyncio.to_thread(thread.join, _END_SECONDS)


async def _serve(
    health: Health,
    service: asyncio.AbstractEventLoop,
    address: str,
    port: int,
    limits: Limits,
    stop: "Future[None]",
) -> None:
    runner = web.AppRunner(health_app(health, service), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, address, port).start()
        reaper = asyncio.create_task(_reap(runner, limits))
        await asyncio.wait([reaper, asyncio.wrap_future(stop)], return_when=asyncio.FIRST_COMPLETED)
        if not reaper.cancel():
            reaper.result()  # a bug: the service ends with it
    finally:
        await runner.cleanup()


def health_app(health: Health, service: asyncio.AbstractEventLoop) -> web.Application:
    """The application. It calls `health` in the event loop `service` of another thread."""

    async def asked(question: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Runs `question` in the service's event loop. Raises TimeoutError while that loop does not
        answer."""
        answer = asyncio.run_coroutine_threadsafe(question(), service)
        async with asyncio.timeout(ANSWER_SECONDS):
            return await asyncio.wrap_future(answer)

    metrics = _Remembered(lambda: asked(health.metrics), METRICS_SECONDS)
    alive = _Remembered(lambda: asked(_nothing), PROBE_SECONDS)
    ready = _Remembered(lambda: asked(health.ready), PROBE_SECONDS)

    async def healthz(_: web.Request) -> web.Response:
        return await _told(alive)

    async def readyz(_: web.Request) -> web.Response:
        return await _told(ready)

    async def show_metrics(_: web.Request) -> web.Response:
        try:
            text = await metrics.get()
        except TimeoutError:
            return web.Response(status=503, text="the event loop does not answer\n")
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application(middlewares=[_once])
    app.add_routes(
        [
            web.get("/healthz", healthz),
            web.get("/readyz", readyz),
            web.get("/metrics", show_metrics),
        ]
    )
    return app


@web.middleware
async def _once(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Allows one answer per connection, so that only slow clients have old connections."""
    try:
        answer = await handler(request)
    except web.HTTPException as error:
        error.force_close()
        raise
    answer.force_close()
    return answer


async def _told(question: "_Remembered[str]") -> web.Response:
    """Makes a response of an answer. Status 200 if the answer is empty, else 503."""
    try:
        reason = await question.get()
    except TimeoutError:
        reason = "the event loop does not answer"
    return web.Response(status=503 if reason else 200, text=f"{reason or 'ok'}\n")


async def _nothing() -> str:
    """Runs in the event loop that does all the work: a stuck event loop gives no answer."""
    return ""


class _Remembered(Generic[T]):
    """Keeps an answer for `seconds`, so that many clients cause only one call in the service."""

    def __init__(self, ask: Callable[[], Awaitable[T]], seconds: float) -> None:
        self._ask = ask
        self._seconds = seconds
        self._turn = asyncio.Lock()
        self._answer: T | None = None
        self._until = 0.0

    async def get(self) -> T:
        loop = asyncio.get_running_loop()
        async with self._turn:
            if self._answer is None or loop.time() >= self._until:
                self._answer = await self._ask()
                self._until = loop.time() + self._seconds
            return self._answer


async def _reap(runner: web.AppRunner, limits: Limits) -> None:
    """Ends old connections, and the oldest ones if there are too many. Never returns."""
    loop = asyncio.get_running_loop()
    since: dict[web.RequestHandler, float] = {}
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        there = runner.server.connections if runner.server is not None else []
        since = {each: since.get(each, loop.time()) for each in there}
        oldest = sorted(since, key=lambda each: since[each])
        too_many = max(0, len(oldest) - limits.connections)
        for index, each in enumerate(oldest):
            old = loop.time() - since[each] >= limits.seconds
            if (old or index < too_many) and each.transport is not None:
                each.transport.abort()
