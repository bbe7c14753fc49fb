"""The clusters on this machine, of either kind."""

from harness.cluster import Cluster
from harness.local import LocalCluster
from harness.node.cluster import MARK, NodeCluster
from harness.places import clusters


def cluster(name: str) -> LocalCluster:
    """The one of this name; one without containers if there is none."""
    if (clusters() / name / MARK).exists():
        return NodeCluster(name)
    return Cluster(name)


def all_clusters() -> list[LocalCluster]:
    return [cluster(file.parent.name) for file in sorted(clusters().glob("*/index"))]
