"""Stands in for a Service: passes TCP connections on to one of its Pods that are ready.

`python -m harness.relay FOLDER` reads FOLDER/relay.json: an address, a port, and targets, each
with an address, a port and a probe. Like kube-proxy it leaves out Pods whose readiness probe fails.
Unlike it, it passes a refused connection on to the next: that stands for a kubelet, which notices
at once that a process has ended and has its endpoint removed.
"""

import asyncio
import itertools
import json
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_PROBE_SECONDS = 0.5
_CONNECT_SECONDS = 1.0


class Relay:
    def __init__(self, targets: list[dict[str, Any]]) -> None:
        self._targets = targets
        self._ready = list(targets)
        self._turn: Iterator[int] = itertools.count()

    async def probe(self) -> None:
        """Never returns."""
        while True:
            answers = await asyncio.gather(
                *(asyncio.to_thread(_is_ready, each["probe"]) for each in self._targets)
            )
            self._ready = [
                each for each, ready in zip(self._targets, answers, strict=True) if ready
            ]
            await asyncio.sleep(_PROBE_SECONDS)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = next(self._turn)
        ready = self._ready
        for offset in range(len(ready)):
            target = ready[(first + offset) % len(ready)]
            try:
                async with asyncio.timeout(_CONNECT_SECONDS):
                    there = await asyncio.open_connection(target["address"], target["port"])
            except (OSError, TimeoutError):
                continue
            await asyncio.gather(_pass_on(reader, there[1]), _pass_on(there[0], writer))
            return
        writer.close()


async def _pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while chunk := await source.read(2**16):
            sink.write(chunk)
            await sink.drain()
    except OSError:
        pass
    finally:
        sink.close()


def _is_ready(probe: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(probe, timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


async def main(folder: Path) -> None:
    config = json.loads((folder / "relay.json").read_text())
    relay = Relay(config["targets"])
    server = await asyncio.start_server(relay.accept, config["address"], config["port"])
    async with server:
        await asyncio.gather(relay.probe(), server.serve_forever())


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
