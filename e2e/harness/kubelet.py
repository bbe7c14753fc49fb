"""Stands in for a kubelet: keeps the containers of one Pod running as processes.

`python kubelet.py FOLDER` reads FOLDER/pod.json. A container that ends is started again after a
pause that doubles from half a second to ten, and is short again after a minute of life; but not
while there is a file FOLDER/NAME.down. SIGTERM is passed on; what has not ended after the grace
period is killed. Each container's output goes to FOLDER/NAME.log, its process id to
FOLDER/NAME.pid.
"""

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

_FIRST_PAUSE, _LONGEST_PAUSE, _LONG_LIFE = 0.5, 10.0, 60.0
_LOOK_SECONDS = 0.1


async def keep(container: dict[str, Any], folder: Path, stop: asyncio.Event, grace: float) -> None:
    """Runs one container, again and again, until told to stop."""
    pause = _FIRST_PAUSE
    log = folder / f"{container['name']}.log"
    down = folder / f"{container['name']}.down"
    while not stop.is_set():
        if down.exists():
            pause = _FIRST_PAUSE
            await asyncio.sleep(_LOOK_SECONDS)
            continue
        started = time.monotonic()
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *container["command"],
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **container["env"]},
                cwd=folder,
            )
        (folder / f"{container['name']}.pid").write_text(str(process.pid))
        await until_ended(process, stop, grace)
        if time.monotonic() - started > _LONG_LIFE:
            pause = _FIRST_PAUSE
        try:
            async with asyncio.timeout(pause):
                await stop.wait()
        except TimeoutError:
            pause = min(_LONGEST_PAUSE, pause * 2)


async def until_ended(
    process: asyncio.subprocess.Process, stop: asyncio.Event, grace: float
) -> None:
    """Waits for the process to end, and sees to it once told to stop."""
    ended = asyncio.create_task(process.wait())
    told = asyncio.create_task(stop.wait())
    await asyncio.wait([ended, told], return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    if not ended.done():
        process.terminate()
        try:
            async with asyncio.timeout(grace):
                await asyncio.shield(ended)
        except TimeoutError:
            process.kill()
    await ended


async def main(folder: Path) -> None:
    pod = json.loads((folder / "pod.json").read_text())
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with asyncio.TaskGroup() as group:
        for container in pod["containers"]:
            group.create_task(keep(container, folder, stop, pod["grace_seconds"]))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
