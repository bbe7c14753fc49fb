"""Prometheus beside a cluster: it scrapes the components, listens on the cluster's loopback address
and has its data in the cluster's folder."""

import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness import processes
from harness.build import monitoring
from harness.client import ClusterError
from harness.cluster import Cluster, answers
from harness.containers import extender

_PORT = 9090
_SCRAPED = ("extender", "webhook")
_READY_SECONDS = 60.0
_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Series:
    """One series of a result. `points` are (seconds since 1970, value), in order of time."""

    labels: dict[str, str]
    points: tuple[tuple[float, float], ...]

    @property
    def last(self) -> float:
        """The newest value."""
        return self.points[-1][1]


class Prometheus:
    """A running one, by the URL of its HTTP API."""

    def __init__(self, url: str) -> None:
        self._url = url
        # Straight to it, whatever proxy the environment names.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def query(self, expression: str) -> list[Series]:
        """The values now. Raises ValueError for what is no PromQL, with what Prometheus said."""
        result = self._get("query", query=expression)
        return [Series(each["metric"], (_point(each["value"]),)) for each in result]

    def query_range(
        self, expression: str, start: float, end: float, step: float = 1.0
    ) -> list[Series]:
        """The values from `start` to `end`, in seconds since 1970, every `step` seconds."""
        result = self._get("query_range", query=expression, start=start, end=end, step=step)
        return [Series(each["metric"], tuple(map(_point, each["values"]))) for each in result]

    def wait_for(
        self, expression: str, condition: Callable[[list[Series]], bool], seconds: float
    ) -> list[Series]:
        """Asks until the values meet the condition, and returns them. TimeoutError says what they
        were instead."""
        deadline = time.monotonic() + seconds
        while not condition(found := self.query(expression)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {seconds} s: {expression}; there is {found}")
            time.sleep(_POLL_SECONDS)
        return found

    def _get(self, path: str, **parameters: object) -> list[dict[str, Any]]:
        url = f"{self._url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with self._opener.open(url, timeout=30) as answer:
                result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        except urllib.error.HTTPError as error:
            raise ValueError(json.load(error)["error"]) from error
        return result


@contextmanager
def scraping(cluster: Cluster, interval_seconds: int = 1) -> Iterator[Prometheus]:
    """A Prometheus that scrapes every replica of the cluster's components, for as long as the block
    runs. When it begins, each was scraped. It ends with the cluster, too."""
    address = f"{extender(cluster).address}:{_PORT}"  # no other cluster has it
    folder = cluster.folder / "prometheus"
    with serving(folder, address, _config(cluster, interval_seconds), cluster.folder) as found:
        everyone = len(targets(cluster))
        found.wait_for("up == 1", lambda up: len(up) == everyone, _READY_SECONDS)
        yield found


@contextmanager
def serving(folder: Path, address: str, config: dict[str, Any], mark: Path) -> Iterator[Prometheus]:
    """A Prometheus with this configuration. Its data are in `folder`/data, and stay there. It ends
    with the cluster whose folder is `mark`, too."""
    folder.mkdir(exist_ok=True)
    file = folder / "prometheus.yaml"
    file.write_text(yaml.safe_dump(config))
    with (folder / "prometheus.log").open("a") as log:
        process = subprocess.Popen(
            [
                monitoring().binary("prometheus"),
                f"--config.file={file}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={address}",
            ],
            env=processes.marked(mark),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        _wait_ready(process, address)
        yield Prometheus(f"http://{address}")
    finally:
        process.kill()  # nobody reads its data later
        process.wait(timeout=10)


def backfill(folder: Path, lines: Iterable[str]) -> None:
    """Writes samples of the past into the data of a Prometheus that does not run yet. `lines` are
    OpenMetrics, with a time in each."""
    folder.mkdir(exist_ok=True)
    file = folder / "past.txt"
    file.write_text("\n".join([*lines, "# EOF", ""]))
    subprocess.run(
        [
            monitoring().binary("promtool"), "tsdb", "create-blocks-from", "openmetrics",
            "--quiet", str(file), str(folder / "data"),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        timeout=300,
        check=True,
    )  # fmt: skip
    file.unlink()


def _wait_ready(process: subprocess.Popen[bytes], address: str) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not answers(f"http://{address}/-/ready"):
        if process.poll() is not None or time.monotonic() > deadline:
            raise ClusterError("Prometheus does not start: see prometheus.log")
        time.sleep(_POLL_SECONDS)


def _config(cluster: Cluster, interval_seconds: int) -> dict[str, Any]:
    interval = f"{interval_seconds}s"
    return {
        "global": {"scrape_interval": interval, "scrape_timeout": interval},
        "scrape_configs": [
            {
                "job_name": f"spillover-{component}",
                "honor_labels": True,
                "static_configs": [
                    {"targets": [target], "labels": {"instance": pod}}
                    for pod, name, target in targets(cluster)
                    if name == component
                ],
            }
            for component in _SCRAPED
        ],
    }


def targets(cluster: Cluster) -> list[tuple[str, str, str]]:
    """Pod, container, and address with port, of each replica: metrics are where probes are."""
    return [
        (pod["name"], container["name"], urllib.parse.urlsplit(container["probe"]).netloc)
        for pod in (
            json.loads(file.read_text()) for file in sorted(cluster.folder.glob("pods/*/pod.json"))
        )
        for container in pod["containers"]
        if container["name"] in _SCRAPED
    ]


def _point(pair: list[Any]) -> tuple[float, float]:
    at, value = pair
    return float(at), float(value)
