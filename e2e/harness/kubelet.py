"""Stands in for a kubelet: keeps the containers of one Pod running as processes.

`python -m harness.kubelet FOLDER KUBECONFIG` reads FOLDER/pod.json. Containers start when the
Secrets that the Pod mounts are there, which it reads with that kubeconfig. A container that ends is
started again after a pause that doubles from half a second to ten, and is short again after a
minute of life; but not while there is a file FOLDER/NAME.down. SIGTERM is passed on; what has not
ended after the grace period is killed. Each container's output goes to FOLDER/NAME.log, its process
id to FOLDER/NAME.pid. The containers share a hostname, the Pod's, where the system allows it; which
one it is stands in FOLDER/hostname.
"""

import asyncio
import ctypes
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from harness.mounted import MountedSecrets

_FIRST_PAUSE, _LONGEST_PAUSE, _LONG_LIFE = 0.5, 10.0, 60.0
_LOOK_SECONDS = 0.1
_NEW_UTS, _NEW_USER = 0x04000000, 0x10000000  # of sched.h


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
        _write_whole(folder / f"{container['name']}.pid", str(process.pid))
        await until_ended(process, stop, grace)
        if time.monotonic() - started > _LONG_LIFE:
            pause = _FIRST_PAUSE
        try:
            async with asyncio.timeout(pause):
                await stop.wait()
        except TimeoutError:
            pause = min(_LONGEST_PAUSE, pause * 2)


def _write_whole(file: Path, text: str) -> None:
    """Nobody reads half of it."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.rename(file)


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


async def _either(*events: asyncio.Event) -> None:
    waits = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()


async def main(folder: Path, kubeconfig: Path) -> None:
    pod = json.loads((folder / "pod.json").read_text())
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    mounted = MountedSecrets(pod["secrets"], folder, kubeconfig)
    async with asyncio.TaskGroup() as group:
        group.create_task(mounted.keep(stop))
        await _either(mounted.there, stop)
        for container in pod["containers"]:
            group.create_task(keep(container, folder, stop, pod["grace_seconds"]))


def take_hostname(name: str) -> None:
    """The Pod's own hostname, by which kube-scheduler signs its Lease. Needs a UTS namespace, and
    for that, unless we are root, a user namespace with it. Raises OSError where there is none."""
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.getuid(), os.getgid()
    if libc.unshare(_NEW_UTS if user == 0 else _NEW_UTS | _NEW_USER):
        raise OSError(ctypes.get_errno(), "unshare")
    if user != 0:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    socket.sethostname(name)


if __name__ == "__main__":
    place = Path(sys.argv[1])
    pod_name = json.loads((place / "pod.json").read_text())["name"]
    try:
        take_hostname(pod_name)
    except OSError as error:  # one replica does without: nobody else has its name
        print(f"the machine's hostname stays: {error}", file=sys.stderr)
    (place / "hostname").write_text(socket.gethostname())
    asyncio.run(main(place, Path(sys.argv[2])))
