"""Serves an aiohttp application as one task."""

import asyncio
import ssl

from aiohttp import web

_KEEP_ALIVE_SECONDS = 120.0
"""Longer than the 90 s for which Go's HTTP client keeps an idle connection, so that the client
closes first."""


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
    runner = web.AppRunner(
        app,
        access_log=None,
        handler_cancellation=False,
        auto_decompress=False,
        keepalive_timeout=_KEEP_ALIVE_SECONDS,
        shutdown_timeout=drain_seconds,
    )
    if when is not None:
        await when.wait()
    await runner.setup()
    try:
        await web.TCPSite(runner, address, port, ssl_context=tls).start()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()
