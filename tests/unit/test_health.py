"""Probes and metrics, while others read slowly or the service is stuck."""

import asyncio
import contextlib
import socket
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry

from spillover.serving.health import Health, Limits, serve_health

FEW = Limits(connections=8, seconds=2.0)
HUGE = b"# " + b"x" * 40_000_000 + b"\n"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def served(more: Callable[[], bytes] = bytes, limits: Limits = FEW) -> AsyncIterator[int]:
    """Its port."""
    port = free_port()
    health = Health(lambda: None, CollectorRegistry(), more)
    task = asyncio.create_task(serve_health(health, "127.0.0.1", port, limits))
    try:
        async with asyncio.timeout(20):
            while await asyncio.to_thread(status, port, "/readyz") != 200:
                pass
        yield port
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def status(port: int, path: str) -> int:
    """0 where nobody answers."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
            answer.read()
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


async def ended(connection: socket.socket) -> None:
    """Until the other side has ended it."""
    connection.settimeout(20)
    with contextlib.suppress(ConnectionError):
        while await asyncio.to_thread(connection.recv, 2**20):
            pass


async def test_connections_that_say_nothing_end_soon_and_keep_nobody_out() -> None:
    async with served() as port:
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(100)]
        async with asyncio.timeout(20):
            while await asyncio.to_thread(status, port, "/healthz") != 200:
                pass
            await asyncio.gather(*map(ended, silent))
        for each in silent:
            each.close()


async def test_a_slow_reader_of_much_holds_nobody() -> None:
    async with served(lambda: HUGE) as port:
        slow = []
        for _ in range(4):
            each = socket.create_connection(("127.0.0.1", port))
            each.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            slow.append(each)
        begun = time.monotonic()
        assert await asyncio.to_thread(status, port, "/healthz") == 200
        assert await asyncio.to_thread(status, port, "/metrics") == 200
        assert time.monotonic() - begun < 10
        await asyncio.gather(*map(ended, slow))
        for each in slow:
            each.close()


async def test_metrics_are_made_once_for_all_who_ask_within_a_second() -> None:
    made = []

    def more() -> bytes:
        made.append(time.monotonic())
        return b"# x\n"

    async with served(more, Limits()) as port:
        begun = time.monotonic()
        asked = [asyncio.to_thread(status, port, "/metrics") for _ in range(50)]
        assert set(await asyncio.gather(*asked)) == {200}
        assert len(made) <= 2 + (time.monotonic() - begun)


async def test_a_service_that_is_stuck_is_not_alive() -> None:
    async with served(limits=Limits()) as port:
        asking = asyncio.get_running_loop().run_in_executor(None, status, port, "/healthz")
        time.sleep(6)  # noqa: ASYNC251 - this is the service, and it is stuck
        assert await asking == 503
        assert await asyncio.to_thread(status, port, "/healthz") == 200
