"""The extender as a process: alive, ready, or ended with a reason, and never half of that."""

import asyncio
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from harness.cluster import Cluster


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Process:
    """Its log lines, and the answers of its probes."""

    def __init__(self, process: asyncio.subprocess.Process, health_port: int) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{health_port}"

    async def probe(self, path: str, seconds: float = 30.0) -> tuple[int, str]:
        """Status and text, as soon as there is an answer. TimeoutError: there is none."""
        async with asyncio.timeout(seconds), aiohttp.ClientSession() as client:
            while True:
                try:
                    async with client.get(self.url + path) as answer:
                        return answer.status, await answer.text()
                except aiohttp.ClientConnectorError:
                    await asyncio.sleep(0.05)

    async def end(self) -> tuple[int, list[dict[str, Any]]]:
        """Exit status and log, once it has ended by itself."""
        async with asyncio.timeout(30):
            _, log = await self.process.communicate()
        return self.process.returncode or 0, [json.loads(line) for line in log.splitlines()]


@asynccontextmanager
async def extender(kubeconfig: Path, port: int, health_port: int) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "extender", f"--kubeconfig={kubeconfig}",
        f"--port={port}", f"--health-port={health_port}",
        stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield Process(process, health_port)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def test_a_task_that_ends_ends_the_process_with_the_reason(bare_cluster: Cluster) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        async with extender(bare_cluster.kubeconfig, port, free_port()) as it:
            status, log = await it.end()
    assert status == 1
    (reason,) = [line for line in log if line["level"] == "critical"]
    assert reason["msg"] == "task scheduler requests ended"
    assert "address already in use" in reason["error"]


def is_stopped(process: int) -> bool:
    """Whether each of its threads is: they stop one after the other."""
    states = (
        file.read_text().rpartition(")")[2].split()[0]
        for file in Path(f"/proc/{process}/task").glob("*/stat")
    )
    return all(state == "T" for state in states)


async def test_ready_means_synced_and_alive_means_that_the_loop_turns(
    bare_cluster: Cluster,
) -> None:
    """This cluster has no CRDs, and so no policies: that is complete, too."""
    async with extender(bare_cluster.kubeconfig, free_port(), free_port()) as it:
        assert await it.probe("/healthz") == (200, "ok\n")
        async with asyncio.timeout(30):
            while (answer := await it.probe("/readyz"))[0] != 200:
                assert answer[1].startswith("the first list of ")
                await asyncio.sleep(0.02)
        it.process.send_signal(signal.SIGSTOP)
        async with asyncio.timeout(10):
            while not is_stopped(it.process.pid):  # noqa: ASYNC110 - the kernel tells nobody
                await asyncio.sleep(0.01)
        try:
            await it.probe("/healthz", seconds=1.0)
        except TimeoutError:
            pass
        else:
            raise AssertionError("a stopped process answers")
        it.process.send_signal(signal.SIGCONT)
        assert await it.probe("/healthz") == (200, "ok\n")
        it.process.send_signal(signal.SIGTERM)
        status, _ = await it.end()
        assert status == 0


async def test_an_api_server_that_is_away_at_the_start_is_waited_for(
    bare_cluster: Cluster, tmp_path: Path
) -> None:
    """Liveness does not kill the process meanwhile: it is alive, not ready, and says why."""
    config = yaml.safe_load(bare_cluster.kubeconfig.read_text())
    config["clusters"][0]["cluster"] = {"server": f"http://127.0.0.1:{free_port()}"}
    nowhere = tmp_path / "kubeconfig"
    nowhere.write_text(yaml.safe_dump(config))
    async with extender(nowhere, free_port(), free_port()) as it:
        assert await it.probe("/healthz") == (200, "ok\n")
        async with asyncio.timeout(30):
            while "Cannot connect" not in (answer := await it.probe("/readyz"))[1]:
                assert answer[0] == 503
                await asyncio.sleep(0.05)
        assert "the first list of " in answer[1]
