"""A proxy in front of the API server that loses answers, or requests."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from enum import Enum, auto

import aiohttp
from aiohttp import web

from spillover.kube.credentials import Credentials


class Fate(Enum):
    """What becomes of a request."""

    PASS = auto()
    LOSE_REQUEST = auto()  # the API server never hears of it
    LOSE_ANSWER = auto()  # it is executed, and nobody is told
    DELAY = auto()  # the client hangs up first; `release` sends it on later


class LossyProxy:
    """Asks `fate` for each request, by method and path."""

    def __init__(self, fate: Callable[[str, str], Fate]) -> None:
        self.fate = fate
        self.url = ""
        self.delayed: list[tuple[str, str, bytes, dict[str, str]]] = []
        self._target = ""
        self._http: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def before(self, credentials: Credentials) -> AsyncIterator["LossyProxy"]:
        """Runs it in front of the API server of these credentials."""
        await credentials.reload()
        self._target = credentials.server
        connector = aiohttp.TCPConnector(ssl=credentials.ssl_context())
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, access_log=None)
        async with aiohttp.ClientSession(connector=connector) as self._http:
            await runner.setup()
            try:
                site = web.TCPSite(runner, "127.0.0.1", 0)
                await site.start()
                host, port = runner.addresses[0][:2]
                self.url = f"http://{host}:{port}"
                yield self
            finally:
                await runner.cleanup()

    async def release(self) -> list[int]:
        """Sends the delayed requests on. Returns the API server's status for each."""
        return [(await self._send(*request))[0] for request in self.delayed]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        fate = self.fate(request.method, request.path)
        parts = (request.method, request.path_qs, await request.read(), dict(request.headers))
        if fate is Fate.DELAY:
            self.delayed.append(parts)
        elif fate is not Fate.LOSE_REQUEST:
            status, body = await self._send(*parts)
            if fate is Fate.PASS:
                return web.Response(status=status, body=body, content_type="application/json")
        if request.transport is not None:
            request.transport.abort()
        return web.Response()

    async def _send(
        self, method: str, path: str, body: bytes, headers: dict[str, str]
    ) -> tuple[int, bytes]:
        if self._http is None:
            raise RuntimeError("the proxy is not running")
        kept = {key: value for key, value in headers.items() if key == "Content-Type"}
        async with self._http.request(
            method, self._target + path, data=body, headers=kept
        ) as answer:
            return answer.status, await answer.read()
