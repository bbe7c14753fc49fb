"""Serving an aiohttp application as one task."""

import asyncio
import ssl

from aiohttp import web

_KEEP_ALIVE_SECONDS = 120.0
"""Above the 90 s for which Go's HTTP client keeps an idle connection: the client closes first."""


async def serve(
    app: web.Application,
    address: str,
    port: int,
    *,
    drain_seconds: float = 1.0,
    tls: ssl.SSLContext | None = None,
    when: asyncio.Event | None = None,
) -> None:
    """Serves until cancelled, then gives requests under way `drain_seconds` to end. With `tls` it
    waits for `when`, that there is a certificate.

    A handler runs to its end also when its client hangs up. Bodies are not decompressed: nothing
    that talks to us compresses, and what a body becomes would be known only afterwards."""
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
