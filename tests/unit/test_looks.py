"""One look at each object: what is written to the API server, and what is told."""

import json
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any

import pytest

from spillover.ahpa.aiming import Aims, ObstacleError
from spillover.ahpa.autoscaling import MOST_IN_NAMESPACE, Autoscaling, Timing
from spillover.ahpa.histories import Reading
from spillover.ahpa.loads import Loads
from spillover.ahpa.minimums import Minimums
from spillover.ahpa.scaling import Scaler
from spillover.ahpa.status import Obstacle, Problem, Seen, status_of
from spillover.ahpa.workloads import (
    HOLDER_ANNOTATION,
    MINIMUM_ANNOTATION,
    SET_ANNOTATION,
    Hpa,
    Stored,
    View,
    _hpa,
)
from spillover.core.autoscaling.autoscaler import Autoscaler, AutoscalerKey, load
from spillover.forecast.decision import Load
from spillover.forecast.history import History
from spillover.kube.session import ApiError, ApiSession

NOW = 1_700_006_400.0


class Api(ApiSession):
    """An API server with scales and HPAs."""

    def __init__(self) -> None:
        self.replicas: dict[str, int] = {}
        self.writes: list[tuple[str, str, Any]] = []
        self.refuses = False

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
        assert seconds > 0
        name = path.removesuffix("/scale").rpartition("/")[2]
        if method == "GET":
            if name not in self.replicas:
                raise ApiError(404, "NotFound", "not found")
            number = self.replicas[name]
            metadata = {
                "name": name,
                "namespace": "a",
                "uid": f"uid-{name}",
                "resourceVersion": "7",
            }
            return json.dumps(
                {"metadata": metadata, "spec": {"replicas": number}, "status": {"replicas": number}}
            ).encode()
        self.writes.append((method, name, body))
        if self.refuses:
            raise ApiError(403, "Forbidden", "a policy of the cluster refuses it")
        if method == "PUT":
            assert isinstance(body, dict)
            assert body["metadata"]["resourceVersion"] == "7"
            self.replicas[name] = body["spec"]["replicas"]
        return b"{}"


class Known(Loads):
    """The load of each target; None while Prometheus is away."""

    def __init__(self) -> None:
        self.load: float | None = 100.0

    async def of(self, autoscaler: Autoscaler, pods: str) -> tuple[Reading, list[Load]]:
        if self.load is None:
            raise ObstacleError(Problem(Obstacle.SOURCE_UNAVAILABLE, "it is away"))
        assert pods
        history = History.empty(int(NOW))
        return Reading(history, self.load, 5), [Load(self.load, autoscaler.metrics[0].goal)]


@dataclass
class Told:
    """What was told of each object."""

    seen: dict[str, Seen | None] = field(default_factory=dict)
    scaled_to: list[tuple[str, int, int]] = field(default_factory=list)
    fails: bool = False

    async def found(self, stored: Stored, seen: Seen | None) -> None:
        self.seen[stored.loaded.key.name] = seen
        if self.fails:
            raise RuntimeError("nobody has thought of it")

    async def scaled(self, stored: Stored, before: int, after: int, why: str) -> None:
        assert why
        self.scaled_to.append((stored.loaded.key.name, before, after))

    def keep(self, keys: Set[AutoscalerKey]) -> None:
        names = {key.name for key in keys}
        self.seen = {name: each for name, each in self.seen.items() if name in names}


class World:
    def __init__(self) -> None:
        self.view, self.api, self.loads, self.told = View(), Api(), Known(), Told()
        self.time, self.leads = 0.0, True
        scaler = Scaler(self.api)
        self.autoscaling = Autoscaling(
            self.view,
            Aims(self.view, scaler),
            scaler,
            self.loads,
            Minimums(self.view, scaler, lambda: self.time),
            self.told,
            lambda: self.leads,
            Timing(60, 600, 86_400, UTC),
            lambda: NOW + self.time,
            lambda: self.time,
        )

    def put(self, name: str, target: str, created: str = "1", **spec: Any) -> None:
        whole = {
            "scaleStrategy": "auto",
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": target},
            "metrics": [
                {"type": "Resource", "resource": {"name": "rps", "target": {
                    "type": "Utilization", "averageUtilization": 20}}}
            ],
            "maxReplicas": 50,
            "stabilizationWindowSeconds": 0,
            **spec,
        }  # fmt: skip
        metadata = {"namespace": "a", "name": name, "uid": f"uid-{name}", "generation": 1}
        self.view.autoscalers.put(Stored(load({"metadata": metadata, "spec": whole}), created, {}))

    def put_hpa(self, name: str, target: str, least: int, **annotations: str) -> Hpa:
        raw = {
            "metadata": {
                "namespace": "a", "name": name, "uid": f"uid-{name}", "resourceVersion": "7",
                "annotations": annotations,
            },
            "spec": {
                "minReplicas": least, "maxReplicas": 20,
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": target},
            },
        }  # fmt: skip
        hpa = _hpa(json.dumps(raw).encode())
        self.view.hpas.put(hpa)
        return hpa

    async def look(self, after: float = 60.0) -> None:
        self.time += after
        await self.autoscaling.look()

    def seen(self, name: str) -> Seen:
        found = self.told.seen[name]
        assert found is not None
        return found

    def problem(self, name: str) -> str:
        problem = self.seen(name).problem
        return problem.obstacle if problem is not None else ""

    def reason(self, name: str, kind: str) -> tuple[str, str]:
        stored = self.view.stored(AutoscalerKey("a", name))
        assert stored is not None
        assert isinstance(stored.loaded, Autoscaler)
        conditions = status_of(stored.loaded, self.seen(name), {}, "now")["conditions"]
        return next((c["status"], c["reason"]) for c in conditions if c["type"] == kind)


AIMED = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "name": "hpa"}


@pytest.fixture
def world() -> World:
    return World()


async def test_it_scales_what_the_load_needs(world: World) -> None:
    world.api.replicas["x"] = 2
    world.put("one", "x")
    await world.look()
    assert world.told.scaled_to == [("one", 2, 5)]
    assert world.api.replicas["x"] == 5
    await world.look()
    assert len(world.api.writes) == 1
    assert world.reason("one", "ModelAvailable") == ("False", "InsufficientHistory")


async def test_a_follower_writes_nothing(world: World) -> None:
    world.api.replicas["x"] = 2
    world.put("one", "x")
    world.leads = False
    await world.look()
    assert (world.api.writes, world.told.seen) == ([], {})


async def test_a_write_that_is_refused_is_told_and_tried_once(world: World) -> None:
    world.api.replicas["x"] = 2
    world.put("one", "x")
    world.api.refuses = True
    await world.look()
    assert len(world.api.writes) == 1
    assert world.reason("one", "AbleToScale") == ("False", "ApiServerUnavailable")
    assert world.seen("one").loads == [100.0], "what was measured is told all the same"


async def test_without_a_load_the_last_number_is_held_for_a_while(world: World) -> None:
    world.api.replicas["x"] = 2
    world.put("one", "x")
    await world.look()
    world.loads.load = None
    await world.look()
    assert world.problem("one") == "SourceUnavailable"
    world.api.replicas["x"] = 3
    await world.look()
    assert world.api.replicas["x"] == 5, "somebody had lowered it"
    world.api.replicas["x"] = 8
    await world.look()
    assert world.api.replicas["x"] == 8, "nothing is lowered"
    world.api.replicas["x"] = 3
    await world.look(after=700)
    assert world.api.replicas["x"] == 3
    problem = world.seen("one").problem
    assert problem is not None
    assert problem.message == "it is away. Replicas are left as they are"


async def test_an_hpa_never_gets_less_than_its_own_minimum(world: World) -> None:
    world.api.replicas["x"] = 5
    world.put_hpa("hpa", "x", 5)
    world.put("one", "x", scaleTargetRef=AIMED)
    world.loads.load = 10.0
    await world.look()
    assert world.api.writes == []
    world.loads.load = 160.0
    await world.look()
    ((_, _, body),) = world.api.writes
    assert body["spec"]["minReplicas"] == 8
    assert body["metadata"]["annotations"][MINIMUM_ANNOTATION] == "5"


async def test_an_hpa_gets_its_minimum_back(world: World) -> None:
    ours = {HOLDER_ANNOTATION: "one", MINIMUM_ANNOTATION: "2", SET_ANNOTATION: "8"}
    world.api.replicas["x"] = 8
    world.put_hpa("hpa", "x", 8, **ours)
    world.put("one", "x", scaleTargetRef=AIMED, scaleStrategy="observer")
    await world.look()
    ((_, name, body),) = world.api.writes
    assert (name, body["spec"]) == ("hpa", {"minReplicas": 2})
    # Somebody has set another minimum since: that one is the HPA's own.
    world.put_hpa("hpa", "x", 4, **ours)
    await world.look()
    assert world.api.writes[-1][2]["spec"] == {"minReplicas": 4}


async def test_a_restoration_that_is_refused_is_not_tried_each_time(world: World) -> None:
    for number in range(50):
        world.put_hpa(f"hpa-{number}", "x", 8, **{HOLDER_ANNOTATION: "gone"})
    world.api.refuses = True
    await world.look()
    assert len(world.api.writes) == 10, "of one namespace"
    for _ in range(5):
        await world.look()
    assert len(world.api.writes) == 50


async def test_a_rival_is_told_and_what_was_measured_too(world: World) -> None:
    world.api.replicas["x"] = 2
    world.put_hpa("other", "x", 1)
    world.put("one", "x")
    await world.look()
    assert world.api.writes == []
    assert world.reason("one", "AbleToScale") == ("False", "AnotherAutoscaler")
    decision = world.seen("one").decision
    assert decision is not None
    assert decision.desired == 5


async def test_to_observe_is_always_possible(world: World) -> None:
    world.api.replicas["x"] = 2
    world.put_hpa("other", "x", 1)
    world.put("watches", "x", scaleStrategy="observer")
    await world.look()
    assert world.problem("watches") == ""
    assert world.seen("watches").loads == [100.0]


async def test_of_two_objects_the_older_one_scales(world: World) -> None:
    world.api.replicas["x"] = 2
    world.put("watches", "x", created="0", scaleStrategy="observer")
    world.put("young", "x", created="2")
    world.put("old", "x", created="1")
    await world.look()
    assert world.told.scaled_to == [("old", 2, 5)]
    assert (world.problem("old"), world.problem("young")) == ("", "AnotherAutoscaler")


async def test_zero_replicas_are_somebodys_wish(world: World) -> None:
    world.api.replicas["x"] = 0
    world.put("one", "x")
    await world.look()
    assert world.api.writes == []
    assert world.reason("one", "ScalingActive") == ("False", "ScalingDisabled")
    world.api.replicas["x"] = 1
    await world.look()
    assert world.api.replicas["x"] == 5


async def test_a_target_that_is_not_there(world: World) -> None:
    world.put("one", "nothing")
    world.put("two", "x", scaleTargetRef=AIMED)
    await world.look()
    assert (world.problem("one"), world.problem("two")) == ("TargetNotFound", "TargetNotFound")
    assert world.reason("one", "ModelAvailable") == ("False", "TargetNotFound")


async def test_an_edit_of_the_target_begins_anew(world: World) -> None:
    """What was needed for the other target says nothing of this one."""
    world.api.replicas |= {"x": 2, "y": 1}
    world.put("one", "x", stabilizationWindowSeconds=300)
    world.loads.load = 800.0
    await world.look()
    world.put("one", "y", stabilizationWindowSeconds=300)
    world.loads.load = 40.0
    await world.look()
    assert world.api.replicas["y"] == 2


async def test_too_many_of_a_namespace_delay_nobody(world: World) -> None:
    world.api.replicas["x"] = 5
    for number in range(MOST_IN_NAMESPACE + 5):
        world.put(f"one-{number:03}", "x", created=f"{number:03}", scaleStrategy="observer")
    await world.look()
    problems = [world.problem(name) for name in sorted(world.told.seen)]
    assert problems == [""] * MOST_IN_NAMESPACE + ["TooManyObjects"] * 5
    for stored in world.view.autoscalers.all():
        world.view.autoscalers.drop(stored)
    await world.look()
    assert world.told.seen == {}


async def test_one_that_cannot_be_looked_at_stops_no_other(world: World) -> None:
    world.api.replicas |= {"x": 2, "y": 2}
    world.put("bad", "x", metrics=[])
    world.put("one", "y")
    world.told.fails = True
    await world.look()
    assert world.told.seen.keys() == {"bad", "one"}
    assert world.told.seen["bad"] is None
    assert world.api.replicas["y"] == 5
