"""Options and fixtures of every tier."""

import fcntl
import os
from collections.abc import Iterator

import pytest

from harness import kind, slowness
from harness.catalogue import all_clusters
from harness.cluster import Cluster, Options, running
from harness.places import TEST_PREFIX, cache


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--long",
        action="store_true",
        help="the full counts of the issues' must-show lines; without it, those that fit CI",
    )

    parser.addoption(
        "--containers",
        choices=("node", "kind"),
        default="node",
        help="where e2e/node runs: a real node of our own, or a kind cluster",
    )
    parser.addoption("--runs", type=int, help="schedules of faults to run")
    parser.addoption("--faults", help="names of the faults to draw from, separated by commas")
    parser.addoption("--prebind", type=float, help="seconds that volumes take to be provisioned")
    parser.addoption("--seed", type=int, help="of the first schedule of faults")


@pytest.fixture(scope="session")
def full(request: pytest.FixtureRequest) -> bool:
    """Whether the full counts were asked for."""
    return bool(request.config.getoption("--long"))


@pytest.fixture(scope="session")
def slack(*, full: bool) -> float:
    """By how much a limit on a time is multiplied: 1 for full counts. Otherwise it follows from how
    slow the machine is when the first test asks."""
    return 1.0 if full else slowness.factor()


@pytest.fixture(scope="session")
def cluster_name() -> Iterator[str]:
    """Begins the names of this run's clusters. A lock tells that the run is alive; the clusters of
    runs that were killed are removed."""
    locks = cache() / "tests"
    locks.mkdir(parents=True, exist_ok=True)
    for file in locks.glob(f"{TEST_PREFIX}*.lock"):
        with file.open("a") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            for cluster in all_clusters():
                if cluster.name.startswith(f"{file.stem}-"):
                    cluster.down()
            kind.remove_left(f"{file.stem}-")
            file.unlink()
    own = locks / f"{TEST_PREFIX}{os.getpid()}.lock"
    with own.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield own.stem
        own.unlink()


@pytest.fixture(scope="session")
def cluster(cluster_name: str) -> Iterator[Cluster]:
    """A cluster with every component of Spillover, shared by all end-to-end tests. At the end no
    component may have been refused anything: the manifests grant what is needed."""
    with running(Cluster(f"{cluster_name}-whole"), Options()) as cluster:
        yield cluster
        refused = [
            line
            for component in (
                "certificates",
                "extender",
                "webhook",
                "spillover-scheduler-0/kube-scheduler",
            )
            for log in cluster.logs(component)
            for line in log.read_text().splitlines()
            # An event for a pod whose namespace goes with its test is nobody's lack of rights.
            if "forbidden" in line.lower() and "because it is being terminated" not in line
        ]
        assert refused == []


@pytest.fixture(scope="session")
def bare_cluster(cluster_name: str) -> Iterator[Cluster]:
    """A control plane and nothing of Spillover."""
    with running(Cluster(f"{cluster_name}-bare"), Options(components=False)) as cluster:
        yield cluster
