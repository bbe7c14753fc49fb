"""What a start costs in a container on a real kubelet: the image of today's Dockerfile against that
of an earlier one, with the same sources, in turn.

`python bench/start.py [--before REVISION] [--rounds N]`, as root
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from harness import image, install, standin
from harness.node import cgroups, host
from harness.node.cluster import NodeCluster
from harness.places import ROOT

_BEFORE = "bbe5bee"
"""The last revision whose byte code went by times, and that left the standard library's out."""
_BASE = "python:3.13-slim"
_CONTAINERS = (("scheduler", "extender", 8889), ("webhook", "webhook", 8444))
_SECONDS = 120.0
_POLL = """
import sys, time, urllib.request
deadline = time.monotonic() + float(sys.argv[2])
while time.monotonic() < deadline:
    try:
        urllib.request.urlopen(sys.argv[1], timeout=1).close()
    except OSError:
        time.sleep(0.02)
    else:
        print(time.clock_gettime(time.CLOCK_BOOTTIME))
        break
"""


@dataclass(frozen=True)
class Start:
    """Seconds from the process's start: wall until it listens and until it is ready, and the CPU
    that it has used by then."""

    listens: float
    ready: float
    cpu: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", default=_BEFORE, metavar="REVISION")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    options = parser.parse_args()
    if reason := host.obstacle():
        print(f"skipped: {reason}")
        return 0
    found: dict[tuple[str, str], list[Start]] = {}
    cluster = NodeCluster("bench-start")
    cluster.up()
    try:
        tags = dict(_images(cluster, options.before))
        install.apply(cluster)
        for component in install.DEPLOYMENTS:
            install.scale(cluster, component, 1)
        install.wait_ready(cluster)
        for _ in range(options.rounds):
            for title, tag in tags.items():
                for component, container, port in _CONTAINERS:
                    start = _started(cluster, component, container, port, tag)
                    found.setdefault((container, title), []).append(start)
    finally:
        cluster.down()
    for _, container, _ in _CONTAINERS:
        for field in ("listens", "ready", "cpu"):
            before, after = (
                median(getattr(each, field) for each in found[container, title])
                for title in ("before", "after")
            )
            print(
                f"{container}, {field}: before {before:.2f} s, after {after:.2f} s,"
                f" ratio {after / before:.2f}"
            )
    return 0


def _images(cluster: NodeCluster, revision: str) -> Iterator[tuple[str, str]]:
    earlier = subprocess.run(  # noqa: S603 - our own words
        ["git", "show", f"{revision}:Dockerfile"],  # noqa: S607 - any git
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout.replace(f"FROM {_BASE}", f"FROM {standin.image()}")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "Dockerfile"
        file.write_text(earlier)
        files = {"before": file, "after": image.DOCKERFILE}
        for title, dockerfile in files.items():
            tag = f"localhost/spillover:{title}"
            image.build_here(tag, dockerfile=dockerfile)
            cluster.load(image.exported(tag))
            yield title, tag
    image.build_here(image.default_tag())
    cluster.load(image.exported(image.default_tag()))


def _started(cluster: NodeCluster, component: str, container: str, port: int, tag: str) -> Start:
    """A new Pod with this image."""
    old = {each["metadata"]["name"] for each in install.pods(cluster, component)}
    cluster.kubectl(
        "set", "image", f"deployment/spillover-{component}", f"{container}={tag}",
        "-n", install.NAMESPACE,
    )  # fmt: skip
    address, identity = _running(cluster, component, container, old)
    listens, ready = (
        float(cluster.box().run(sys.executable, "-c", _POLL,
                                f"http://{address}:{port}/{path}", str(_SECONDS)))
        for path in ("healthz", "readyz")
    )  # fmt: skip
    cpu = cgroups.cpu_seconds(cluster.name, identity)
    began = cluster.start_of(identity)
    install.wait_ready(cluster)
    return Start(listens - began, ready - began, cpu)


def _running(
    cluster: NodeCluster, component: str, container: str, old: set[str]
) -> tuple[str, str]:
    """Address and container id of the Pod that is not one of the old ones."""
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        for pod in install.pods(cluster, component):
            if pod["metadata"]["name"] in old:
                continue
            for status in pod["status"].get("containerStatuses", ()):
                if status["name"] == container and "running" in status["state"]:
                    identity = status["containerID"].removeprefix("containerd://")
                    return pod["status"]["podIP"], identity
        time.sleep(0.05)
    raise TimeoutError(f"no new Pod of {component}")


if __name__ == "__main__":
    sys.exit(main())
