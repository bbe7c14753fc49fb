"""A cluster that runs containers, with Spillover installed as the README says."""

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness import image, install, readme
from harness.build import control_plane
from harness.client import Client
from harness.kind import KindCluster
from harness.node.cluster import NodeCluster
from harness.node.host import search_path

_SECTION = "On your cluster"


@dataclass(frozen=True)
class Site:
    """What the scenarios in e2e/node need of a cluster, whoever made it. `node` is the real node's
    name, `commands` are those of the README that were run."""

    client: Client
    node: str
    commands: list[str]


@contextmanager
def on_a_node(cluster: NodeCluster) -> Iterator[Site]:
    """A real node of our own."""
    cluster.up()
    try:
        with tempfile.TemporaryDirectory() as folder:
            yield _installed(
                cluster,
                cluster.node,
                Path(folder),
                # No registry is reached: the base image is made of Debian's packages.
                {"SPILLOVER_IMAGE_BASE": image.STAND_IN},
                lambda tag: cluster.load(image.exported(tag)),
            )
    except BaseException:
        cluster.keep_logs()
        raise
    finally:
        cluster.down()


@contextmanager
def on_kind(name: str) -> Iterator[tuple[KindCluster, Site]]:
    """A kind cluster."""
    with tempfile.TemporaryDirectory() as folder:
        cluster = KindCluster(name, Path(folder))
        cluster.up()
        try:
            yield cluster, _installed(cluster, cluster.node, Path(folder), {}, cluster.load)
        except BaseException:
            cluster.keep_logs()
            raise
        finally:
            cluster.down()


def _installed(
    client: Client,
    node: str,
    folder: Path,
    settings: Mapping[str, str],
    push: Callable[[str], None],
) -> Site:
    checkout = folder / "checkout"
    checkout.mkdir()
    programs = control_plane().folder
    environment = {
        **settings,
        "NO_PROXY": "*",
        "KUBECONFIG": str(client.kubeconfig),
        # ./dev runs on the Python that runs us: with another it would make its environment anew.
        "PATH": f"{programs}:{Path(sys.base_prefix) / 'bin'}:{search_path()}",
    }
    commands = readme.follow(_SECTION, checkout, environment, push)
    install.wait_ready(client)
    return Site(client, node, commands)
