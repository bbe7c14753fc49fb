"""One fleet for the tests of federation."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from federation.agents import limiting_agents
from federation.fleet import NAMESPACE, WORKLOAD, Fleet, fleet
from harness.containers import Container
from harness.watch import Watch


@pytest.fixture(scope="package")
def members_and_hub(cluster_name: str) -> Iterator[Fleet]:
    """The clusters, without the engine."""
    with fleet(cluster_name) as found:
        yield found


@pytest.fixture(scope="module")
def limiting(members_and_hub: Fleet) -> Iterator[dict[str, Container]]:
    """Agents in the mode limit, by member."""
    with limiting_agents(members_and_hub) as found:
        yield found


@pytest.fixture
def pods(members_and_hub: Fleet) -> Iterator[dict[str, Watch]]:
    """A watch of the pods of each member. At the end the workload is gone."""
    with ExitStack() as stack:
        watches = {
            name: stack.enter_context(Watch(cluster, f"/api/v1/namespaces/{NAMESPACE}/pods"))
            for name, cluster in members_and_hub.members.items()
        }
        try:
            yield watches
        finally:
            for cluster in (members_and_hub.hub, *members_and_hub.members.values()):
                cluster.kubectl("delete", "deployment", WORKLOAD, "--ignore-not-found")
            members_and_hub.hub.kubectl(
                "delete", "federatedobjects", "--all", "-n", NAMESPACE, "--wait=false"
            )
            for watch in watches.values():
                watch.wait_for(lambda left: not left, 60, "all pods of the test gone")
