"""Taking gates away, where the API server does not do as it is told."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from builders import ack_policy, leading, pod, virtual
from spillover.controller.nudging import Nudger
from spillover.controller.pod_writer import Outcome, PodWriter
from spillover.core.cache.cluster import ClusterCache
from spillover.core.model.conventions import NodeConventions
from spillover.core.scheduler import Scheduler
from spillover.kube.credentials import Credentials
from spillover.kube.session import ApiError, ApiSession


class Server(ApiSession):
    """Refuses with `refusals`, one after the other, and then does as it is told."""

    def __init__(self, *refusals: int) -> None:
        super().__init__(Credentials(Path("nowhere")))
        self.refusals = list(refusals)
        self.bodies: list[object] = []

    async def request(self, *_: Any, **more: Any) -> bytes:
        if self.refusals:
            raise ApiError(self.refusals.pop(0), "Invalid", "no")
        self.bodies.append(more["body"])
        return b"{}"


GATED = pod("a", version=11, has_crowd_gate=True)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(404, Outcome.GONE), (409, Outcome.FAILED), (422, Outcome.FAILED), (500, Outcome.FAILED)],
)
async def test_only_a_pod_that_is_not_there_is_gone(status: int, outcome: Outcome) -> None:
    writer = PodWriter(Server(status), lambda _: None)
    assert await writer.take_gate(GATED) is outcome


async def test_only_our_gate_is_taken() -> None:
    server = Server()
    assert await PodWriter(server, lambda _: None).take_gate(GATED) is Outcome.WRITTEN
    assert server.bodies == [
        {
            "metadata": {"uid": "a"},
            "spec": {"schedulingGates": [{"$patch": "delete", "name": "spillover.dev/crowd"}]},
        }
    ]


class LateWriter(PodWriter):
    """The first write's turn comes too late."""

    calls = 0

    async def take_gate(self, *_: Any) -> Outcome:
        self.calls += 1
        return Outcome.NEEDLESS if self.calls == 1 else Outcome.WRITTEN


@pytest.mark.parametrize("refusals", [[], [422, 422], [409]], ids=["too late", "422", "409"])
async def test_a_gate_is_tried_again(refusals: list[int]) -> None:
    now = [0.0]
    scheduler = Scheduler(
        ClusterCache(NodeConventions(), lambda: now[0], lambda: now[0], lambda: 0.0)
    )
    leading(scheduler)
    scheduler.cluster.put_node(virtual("vk"))
    scheduler.cluster.put_policy(ack_policy({"resource": "eci"}))
    scheduler.cluster.put_pod(GATED)
    server, reports = Server(*refusals), list[str]()
    writer = PodWriter(server, reports.append) if refusals else LateWriter(server, reports.append)
    nudger = asyncio.create_task(Nudger(scheduler, writer, lambda: datetime.now(UTC)).run())
    try:
        async with asyncio.timeout(20):
            while not (server.bodies or (isinstance(writer, LateWriter) and writer.calls > 1)):
                now[0] += 100  # no rest is longer
                await asyncio.sleep(0.01)
    finally:
        nudger.cancel()
        await asyncio.gather(nudger, return_exceptions=True)
    assert reports[: len(refusals)] == ["failed"] * len(refusals)
