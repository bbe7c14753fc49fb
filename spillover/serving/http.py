"""Serves an aiohttp application as one task."""

import asyncio
import ssl
from collections.abc import Callable

from aiohttp import web

_KEEP_ALIVE_SECONDS = 120.0
"""Longer than the 90 s for which Go's HTTP client keeps an idle connection, so that the client
closes first."""
_LOOK_SECONDS = 0.5


async def serve(
    app: web.Application,
    address: str,
    port: int,
    *,
    drain_seconds: float = 1.0,
    tls: ssl.SSLContext | None = None,
    when: asyncio.Event | None = None,
) -> None:
    """Serves until it is cancelled. Then requests in progress have `drain_seconds` to end. If
    `when` is given, serving begins when it is set: with `tls`, when a certificate is loaded.

    A handler runs to its end even if its client closes the connection. Bodies are not decompressed:
    no client of ours compresses, and the size of a body would be known only after decompression."""
    if when is not None:
        await when.wait()
    runner = _runner(app, drain_seconds)
    await runner.setup()
    try:
        await web.TCPSite(runner, address, port, ssl_context=tls).start()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


async def serve_tls(
    app: web.Application, address: str, port: int, context: Callable[[], ssl.SSLContext | None]
) -> None:
    """Serves until it is cancelled, over TLS, as soon as `context` returns a context. When it
    returns another one, new connections use that, and the old ones end. At no time nobody
    listens."""
    runner = _runner(app, drain_seconds=1.0)
    await runner.setup()
    site: web.TCPSite | None = None
    served: ssl.SSLContext | None = None
    try:
        while True:
            wanted = context()
            if wanted is not None and wanted is not served:
                following = web.TCPSite(runner, address, port, ssl_context=wanted, reuse_port=True)
                await following.start()
                if site is not None:
                    await site.stop()
                    for connection in runner.server.connections if runner.server else ():
                        connection.close()  # when its request is answered
                site, served = following, wanted
            await asyncio.sleep(_LOOK_SECONDS)
    finally:
        await runner.cleanup()


def _runner(app: web.Application, drain_seconds: float) -> web.AppRunner:
    return web.AppRunner(
        app,
        access_log=None,
        handler_cancellation=False,
        auto_decompress=False,
        keepalive_timeout=_KEEP_ALIVE_SECONDS,
        shutdown_timeout=drain_seconds,
    )
