"""Options and fixtures of every tier."""

import os
from collections.abc import Iterator

import pytest

from harness.cluster import Cluster, Options, all_clusters, running

_PREFIX = "test-"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--long",
        action="store_true",
        help="the full counts of the issues' must-show lines; without it, those that fit CI",
    )


@pytest.fixture(scope="session")
def full(request: pytest.FixtureRequest) -> bool:
    """Whether the full counts were asked for."""
    return bool(request.config.getoption("--long"))


@pytest.fixture(scope="session")
def cluster_name() -> str:
    """A name that no other test run uses. Clusters of test runs that were killed are removed."""
    for cluster in all_clusters():
        owner = cluster.name.removeprefix(_PREFIX).partition("-")[0]
        if cluster.name.startswith(_PREFIX) and not _alive(owner):
            cluster.down()
    return f"{_PREFIX}{os.getpid()}"


def _alive(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True


@pytest.fixture(scope="session")
def cluster(cluster_name: str) -> Iterator[Cluster]:
    """A cluster with every component of Spillover, shared by all end-to-end tests."""
    with running(Cluster(f"{cluster_name}-whole"), Options()) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def bare_cluster(cluster_name: str) -> Iterator[Cluster]:
    """A control plane and nothing of Spillover."""
    with running(Cluster(f"{cluster_name}-bare"), Options(components=False)) as cluster:
        yield cluster
