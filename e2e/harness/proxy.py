"""A proxy in front of an API server that does to each request what a test tells it: pass it on,
lose it, delay it, cut its answer short."""

import asyncio
import re
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

import aiohttp
import yaml
from aiohttp import web

_START_SECONDS = 30.0


@dataclass(frozen=True)
class Request:
    """`path` has the query with it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def is_watch(self) -> bool:
        return "watch=1" in self.path


class Fate(Enum):
    """What becomes of a request as a whole."""

    PASS = auto()
    LOSE_REQUEST = auto()  # the API server never hears of it
    LOSE_ANSWER = auto()  # it is executed, and nobody is told
    DELAY = auto()  # the connection breaks; `release` sends it on later
    HOLD = auto()  # likewise, and the client is left waiting


@dataclass(frozen=True)
class Lag:
    """Every part of the answer comes later by so many seconds, and none is lost."""

    seconds: float


@dataclass(frozen=True)
class Cut:
    """The connection is broken after so many bytes of the answer."""

    after: int


@dataclass(frozen=True)
class Silence:
    """After so many bytes of the answer nothing comes any more; the connection stays."""

    after: int


@dataclass(frozen=True)
class Answer:
    """The API server is not asked."""

    status: int
    body: str
    content_type: str = "application/json"
    retry_after: str = ""


@dataclass(frozen=True)
class From:
    """A watch begins at another version than it asked for."""

    version: int


Treatment = Fate | Lag | Cut | Silence | Answer | From


class Proxy:
    """Asks `fate` what to do with each request. `requests` are those that have come, with the
    seconds of the event loop's clock."""

    def __init__(self, fate: Callable[[Request], Treatment]) -> None:
        self.fate = fate
        self.url = ""
        self.delayed: list[Request] = []
        self.requests: list[tuple[float, Request]] = []
        self._clients: set[asyncio.Transport] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._target = ""
        self._http: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def before(self, kubeconfig: Path, address: str = "127.0.0.1") -> AsyncIterator["Proxy"]:
        """Runs it in front of the API server of a kubeconfig, with its client certificate for
        requests that have no credentials of their own."""
        self._loop = asyncio.get_running_loop()
        self._target, context = _api_server(kubeconfig)
        connector = aiohttp.TCPConnector(ssl=context, limit=0)
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True
        )
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as self._http:
            await runner.setup()
            try:
                await web.TCPSite(runner, address, 0).start()
                host, port = runner.addresses[0][:2]
                self.url = f"http://{host}:{port}"
                yield self
            finally:
                await runner.cleanup()

    async def release(self) -> list[int]:
        """Sends the delayed requests on. Returns the API server's status for each answer."""
        statuses = []
        while self.delayed:
            try:
                async with self._send(self.delayed.pop()) as answer:
                    statuses.append(answer.status)
            except (aiohttp.ClientError, OSError):
                continue
        return statuses

    def release_from_outside(self) -> list[int]:
        """`release`, from another thread than the proxy's."""
        if self._loop is None:
            raise RuntimeError("the proxy is not running")
        return asyncio.run_coroutine_threadsafe(self.release(), self._loop).result(_START_SECONDS)

    def in_loop(self, act: Callable[[], object]) -> None:
        """Does something in the proxy's thread."""
        if self._loop is None:
            raise RuntimeError("the proxy is not running")
        self._loop.call_soon_threadsafe(act)

    def break_all(self) -> None:
        """Breaks every connection that a request is being answered on."""
        for transport in list(self._clients):
            transport.abort()

    async def _handle(self, incoming: web.Request) -> web.StreamResponse:
        transport = incoming.transport
        if not isinstance(transport, asyncio.Transport):
            return web.Response()  # the client has hung up already
        self._clients.add(transport)
        try:
            return await self._treat(incoming)
        except (aiohttp.ClientError, OSError):
            _break(incoming)
            return web.Response()
        finally:
            self._clients.discard(transport)

    async def _treat(self, incoming: web.Request) -> web.StreamResponse:
        request = Request(
            incoming.method, incoming.path_qs, dict(incoming.headers), await incoming.read()
        )
        self.requests.append((asyncio.get_running_loop().time(), request))
        match self.fate(request):
            case Answer(status, body, content_type, retry_after):
                headers = {"Retry-After": retry_after} if retry_after else {}
                return web.Response(
                    status=status, text=body, content_type=content_type, headers=headers
                )
            case From(version):
                path = re.sub("resourceVersion=[0-9]*", f"resourceVersion={version}", request.path)
                moved = Request(request.method, path, request.headers, request.body)
                return await self._relay(incoming, moved, Fate.PASS)
            case Fate.LOSE_REQUEST:
                pass
            case Fate.DELAY:
                self.delayed.append(request)
            case Fate.HOLD:
                self.delayed.append(request)
                await asyncio.Event().wait()  # until the client hangs up
            case Fate.LOSE_ANSWER:
                async with self._send(request) as answer:
                    await answer.read()
            case treatment:
                return await self._relay(incoming, request, treatment)
        _break(incoming)
        return web.Response()

    @asynccontextmanager
    async def _send(self, request: Request) -> AsyncIterator[aiohttp.ClientResponse]:
        if self._http is None:
            raise RuntimeError("the proxy is not running")
        kept = ("Content-Type", "Authorization", "Accept")
        headers = {key: value for key, value in request.headers.items() if key in kept}
        async with self._http.request(
            request.method, self._target + request.path, data=request.body, headers=headers
        ) as answer:
            try:
                yield answer
            finally:
                # An orderly close of TLS needs an answer of the API server, which may come after
                # the end of the event loop.
                connection = answer.connection  # None at the end of the answer
                if connection is not None and connection.transport is not None:
                    connection.transport.abort()

    async def _relay(
        self, incoming: web.Request, request: Request, treatment: Treatment
    ) -> web.StreamResponse:
        try:
            async with self._send(request) as answer:
                headers = {
                    key: value
                    for key, value in answer.headers.items()
                    if key in ("Content-Type", "Retry-After")
                }
                outgoing = web.StreamResponse(status=answer.status, headers=headers)
                await outgoing.prepare(incoming)
                parts: AsyncIterator[bytes] = answer.content.iter_any()
                if isinstance(treatment, Lag):
                    parts = _later(parts, treatment.seconds)
                left = treatment.after if isinstance(treatment, Cut | Silence) else None
                async for part in parts:
                    if left is not None and left < len(part):
                        await outgoing.write(part[:left])
                        if isinstance(treatment, Silence):
                            await asyncio.Event().wait()  # until the client hangs up
                        _break(incoming)
                        return outgoing
                    await outgoing.write(part)
                    left = None if left is None else left - len(part)
                return outgoing
        except (aiohttp.ClientError, OSError):
            _break(incoming)  # one side is gone: the other is told in the same way
            return web.Response()


async def _later(parts: AsyncIterator[bytes], seconds: float) -> AsyncIterator[bytes]:
    """The same parts, each later by some seconds, and not one after the other."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[tuple[float, bytes | None]] = asyncio.Queue()

    async def read() -> None:
        try:
            async for part in parts:
                queue.put_nowait((loop.time() + seconds, part))
        finally:
            queue.put_nowait((loop.time() + seconds, None))

    reading = asyncio.create_task(read())
    try:
        while True:
            due, part = await queue.get()
            await asyncio.sleep(due - loop.time())
            if part is None:
                break
            yield part
        await reading
    finally:
        reading.cancel()


def _break(incoming: web.Request) -> None:
    if incoming.transport is not None:
        incoming.transport.abort()


@contextmanager
def running(proxy: Proxy, kubeconfig: Path) -> Iterator[Proxy]:
    """Runs a proxy in a thread of its own, for tests that are not asynchronous."""
    ready = threading.Event()
    stops: list[Callable[[], object]] = []

    async def run() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        stops.append(lambda: loop.call_soon_threadsafe(stop.set))
        async with proxy.before(kubeconfig):
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    try:
        if not ready.wait(_START_SECONDS):
            raise TimeoutError("the proxy did not start")
        yield proxy
    finally:
        for stop in stops:
            stop()
        thread.join(_START_SECONDS)


def _api_server(kubeconfig: Path) -> tuple[str, ssl.SSLContext]:
    """Address and TLS settings in a kubeconfig as kwokctl writes it."""
    config = yaml.safe_load(kubeconfig.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    context = ssl.create_default_context(cafile=cluster.get("certificate-authority"))
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if "client-certificate" in user:
        context.load_cert_chain(user["client-certificate"], user["client-key"])
    return str(cluster["server"]), context
