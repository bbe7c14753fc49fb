"""Which of several replicas leads, against a store that behaves as the API server does."""

import json
from collections.abc import Mapping
from random import Random
from typing import Any

import pytest

from spillover.kube.election import LEASE_SECONDS, SURE_SECONDS, Election
from spillover.kube.session import ApiError, ApiSession, NoAnswerError


class Api(ApiSession):
    """One Lease, with versions."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.version = 0
        self.is_away = False

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,  # noqa: ARG002 - an ApiSession's
        body: object = None,
        content_type: str = "",  # noqa: ARG002 - likewise
        seconds: float = 0,
    ) -> bytes:
        assert 0 < seconds <= 5
        if self.is_away:
            raise NoAnswerError("away")
        if method == "GET":
            if self.lease is None:
                raise ApiError(404, "NotFound", "no lease")
            return json.dumps(self.lease).encode()
        assert isinstance(body, dict)
        known = self.lease["metadata"]["resourceVersion"] if self.lease else ""
        if body["metadata"].get("resourceVersion", "") != known or path.endswith("x") != bool(
            known
        ):
            raise ApiError(409, "Conflict", "another version")
        self.version += 1
        metadata = {**body["metadata"], "resourceVersion": str(self.version)}
        self.lease = {**body, "metadata": metadata}
        return json.dumps(self.lease).encode()

    @property
    def holder(self) -> str:
        return str(self.lease["spec"]["holderIdentity"]) if self.lease else ""


class World:
    def __init__(self) -> None:
        self.api, self.time = Api(), 0.0

    def replica(self, name: str) -> Election:
        return Election(self.api, "n", "x", name, lambda: self.time, Random(1))


@pytest.fixture
def world() -> World:
    return World()


async def step(*replicas: Election) -> None:
    for each in replicas:
        await each._step()  # noqa: SLF001 - one look, without the wait


async def test_the_first_one_leads_and_keeps_the_lease(world: World) -> None:
    one, two = world.replica("one"), world.replica("two")
    for _ in range(20):
        await step(one, two)
        world.time += 2
        assert (one.holds(), two.holds(), world.api.holder) == (True, False, "one")


async def test_a_silent_leader_is_followed_and_knows_it(world: World) -> None:
    """It stops before another one can begin, though it hears nothing."""
    one, two = world.replica("one"), world.replica("two")
    await step(one, two)
    begun = world.time
    while not two.holds():
        world.time += 0.5
        await step(two)
        assert not (one.holds() and two.holds())
        assert world.time < begun + LEASE_SECONDS + 3
    assert world.time >= begun + SURE_SECONDS
    await step(one)
    assert (one.holds(), two.holds()) == (False, True)


async def test_the_clock_of_another_replica_does_not_matter(world: World) -> None:
    one, two = world.replica("one"), world.replica("two")
    await step(one)
    assert world.api.lease is not None
    world.api.lease["spec"]["renewTime"] = "1970-01-01T00:00:00.000000Z"
    await step(two)
    world.time += 5
    await step(two)
    assert not two.holds(), "it was seen to change a moment ago"


async def test_of_two_at_once_one_gets_it(world: World) -> None:
    one, two = world.replica("one"), world.replica("two")
    found = await one._read()  # noqa: SLF001 - both have read
    assert found is None
    await step(two)
    await one._write("one", "")  # noqa: SLF001 - and both write
    assert (one.holds(), two.holds(), world.api.holder) == (False, True, "two")


async def test_an_orderly_end_lets_the_next_one_begin_at_once(world: World) -> None:
    one, two = world.replica("one"), world.replica("two")
    await step(one, two)
    await one.release()
    assert not one.holds()
    await step(two)
    assert (two.holds(), world.api.holder) == (True, "two")


async def test_an_api_server_that_is_away_ends_the_lead(world: World) -> None:
    one = world.replica("one")
    await step(one)
    world.api.is_away = True
    with pytest.raises(NoAnswerError):
        await step(one)
    assert one.holds()
    world.time += SURE_SECONDS
    assert not one.holds()
    world.api.is_away = False
    await step(one)
    assert one.holds()
