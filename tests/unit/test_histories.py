"""What is asked of Prometheus, and how often."""

import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from spillover.ahpa.histories import Histories
from spillover.ahpa.prometheus import Prometheus, PrometheusError, Source
from spillover.forecast.history import POINTS

NOW = 1_700_006_400


class World:
    """A server that speaks as Prometheus does: the value of a sample is its minute."""

    def __init__(self) -> None:
        self.now = float(NOW)
        self.source: Source | None = None
        self.ranges: list[tuple[int, int, int]] = []
        self.fails = False
        self.since = 0
        """Prometheus has nothing from before."""
        self.histories: Histories

    async def answer(self, request: web.Request) -> web.Response:
        form = await request.post()
        begin, end, step = (int(str(form[name])) for name in ("start", "end", "step"))
        self.ranges.append((begin, end, step))
        if self.fails:
            return web.Response(status=503, text='{"status":"error","error":"starting up"}')
        times = range(max(begin, self.since), end + 1, step)
        series = {"load": [str(at // 60) for at in times], "pods": ["3"] * len(times)}
        result = [
            {
                "metric": {"spillover_part": part},
                "values": [[at, value] for at, value in zip(times, values, strict=True)],
            }
            for part, values in series.items()
        ]
        body = {"status": "success", "data": {"resultType": "matrix", "result": result}}
        return web.Response(text=json.dumps(body))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    found = World()
    app = web.Application()
    app.router.add_post("/prefix/api/v1/query_range", found.answer)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        found.source = Source(f"{server.make_url('/prefix/')}")
        found.histories = Histories(
            Prometheus(session, lambda: found.now),
            lambda: found.source,
            lambda: found.now,
            lambda: found.now,
            60,
        )
        yield found


async def test_one_query_of_seven_days_and_then_a_few_points(world: World) -> None:
    first = await world.histories.read("a", "x")
    assert world.ranges == [(NOW - (POINTS - 1) * 60, NOW, 60)]
    assert (first.load, first.pods) == (NOW // 60, 3)
    assert first.history.share == 1
    for minute in range(1, 4):
        world.now += 60
        later = await world.histories.read("a", "x")
        assert len(world.ranges) == 1 + minute, "one query a minute"
    begin, end, _ = world.ranges[-1]
    assert (end - begin) // 60 <= 6
    assert later.load == world.now // 60
    assert later.history.share == 1


async def test_after_a_silence_the_gap_is_read(world: World) -> None:
    await world.histories.read("a", "x")
    world.fails = True
    for _ in range(30):
        world.now += 60
        with pytest.raises(PrometheusError):
            await world.histories.read("a", "x")
    world.fails = False
    found = await world.histories.read("a", "x")
    assert found.history.share == 1
    assert found.history.end == world.now


async def test_a_new_replica_set_keeps_what_is_known(world: World) -> None:
    await world.histories.read("a", "x")
    world.now += 60
    found = await world.histories.read("a", "x|y")
    assert found.history.share == 1
    begin, end, _ = world.ranges[-1]
    assert (end - begin) // 60 <= 6


async def test_each_workload_has_its_own(world: World) -> None:
    await world.histories.read("a", "x")
    await world.histories.read("b", "x")
    assert [end - begin for begin, end, _ in world.ranges] == [(POINTS - 1) * 60] * 2


async def test_no_address_is_an_error(world: World) -> None:
    world.source = None
    with pytest.raises(PrometheusError, match="no address of Prometheus"):
        await world.histories.read("a", "x")


async def test_another_prometheus_is_read_as_a_whole(world: World) -> None:
    await world.histories.read("a", "x")
    assert world.source is not None
    world.source = Source(world.source.url, "token")
    await world.histories.read("a", "x")
    assert [end - begin for begin, end, _ in world.ranges] == [(POINTS - 1) * 60] * 2


async def test_a_prometheus_that_is_filled_later_is_read_again(world: World) -> None:
    world.since = NOW
    assert (await world.histories.read("a", "x")).history.share < 0.01
    world.since = 0
    world.now += 60
    assert (await world.histories.read("a", "x")).history.share < 0.01
    world.now += 3600
    assert (await world.histories.read("a", "x")).history.share == 1


async def test_a_clock_that_goes_back_begins_anew(world: World) -> None:
    await world.histories.read("a", "x")
    world.now -= 86_400
    found = await world.histories.read("a", "x")
    assert found.history.end == world.now
    assert found.history.share == 1
    assert found.load == world.now // 60


async def test_the_newest_sample_alone(world: World) -> None:
    assert await world.histories.newest("x") == (NOW // 60, 3)
    ((begin, end, _),) = world.ranges
    assert end - begin == 60
