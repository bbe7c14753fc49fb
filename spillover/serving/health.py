"""Probes and metrics, safe to serve to the Pod's network."""

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest


def health_app(
    obstacle: Callable[[], str | None],
    registry: CollectorRegistry,
    more_metrics: Callable[[], bytes] = bytes,
) -> web.Application:
    """`obstacle` tells why the service is not ready, or None. `more_metrics` are in Prometheus'
    text format already."""

    async def healthz(_: web.Request) -> web.Response:
        # Answered by the event loop that does all the work: while that is stuck, there is none.
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        reason = obstacle()
        return web.Response(status=503 if reason else 200, text=f"{reason or 'ok'}\n")

    async def show_metrics(_: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(registry) + more_metrics(),
            headers={"Content-Type": CONTENT_TYPE_LATEST},
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
