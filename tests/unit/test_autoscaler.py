"""AdvancedHorizontalPodAutoscalers: the vendor's examples load, and every error names its field."""

from datetime import datetime
from typing import Any

import pytest
import yaml

from spillover.core.autoscaling.autoscaler import (
    Autoscaler,
    InvalidAutoscaler,
    LoadedAutoscaler,
    MetricGoal,
    Strategy,
    load,
    warnings,
)
from spillover.core.autoscaling.bounds import Bounds, in_force

TUTORIAL = """
apiVersion: autoscaling.alibabacloud.com/v1beta1
kind: AdvancedHorizontalPodAutoscaler
metadata:
  name: fib-gpu
  namespace: default
spec:
  metrics:
  - resource:
      name: gpu
      target:
        averageUtilization: 20
        type: Utilization
    type: Resource
  minReplicas: 10
  maxReplicas: 50
  prediction:
    quantile: 95
    scaleUpForward: 180
  scaleStrategy: observer
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: bert-intent-detection
  stabilizationWindowSeconds: 300
  instanceBounds:
  - startTime: "2023-06-01 00:00:00"
    endTime: "2033-06-01 00:00:00"
    bounds:
    - cron: "* 0-8 ? * MON-FRI"
      maxReplicas: 15
      minReplicas: 4
    - cron: "* 9-15 ? * MON-FRI"
      maxReplicas: 15
      minReplicas: 10
"""


def tutorial(**spec: Any) -> dict[str, Any]:
    raw: dict[str, Any] = yaml.safe_load(TUTORIAL)
    raw["spec"].update(spec)
    return raw


def errors(loaded: LoadedAutoscaler) -> dict[str, str]:
    assert isinstance(loaded, InvalidAutoscaler)
    return {each.path: each.message for each in loaded.errors}


def test_the_tutorials_object() -> None:
    loaded = load(tutorial())
    assert isinstance(loaded, Autoscaler)
    assert (loaded.target.kind, loaded.target.name) == ("Deployment", "bert-intent-detection")
    assert loaded.metrics == (MetricGoal("gpu", 20.0),)
    assert loaded.strategy is Strategy.OBSERVER
    assert (loaded.bounds, loaded.quantile) == (Bounds(10, 50), 0.95)
    assert (loaded.forward, loaded.window) == (180, 300)


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("2023-06-06 03:00:00", Bounds(4, 15)),  # a Tuesday
        ("2023-06-06 12:00:00", Bounds(10, 15)),
        ("2023-06-06 20:00:00", Bounds(10, 50)),
        ("2023-06-10 03:00:00", Bounds(10, 50)),  # a Saturday
        ("2023-05-30 03:00:00", Bounds(10, 50)),  # before the start
        ("2034-06-06 03:00:00", Bounds(10, 50)),  # after the end
    ],
)
def test_bounds_by_time(time: str, expected: Bounds) -> None:
    loaded = load(tutorial())
    assert isinstance(loaded, Autoscaler)
    assert in_force(datetime.fromisoformat(time), loaded.periods, loaded.bounds) == expected


def test_a_bound_without_a_number_has_that_of_the_spec() -> None:
    bounds = [{"cron": "* * ? * *", "maxReplicas": 15}]
    loaded = load(tutorial(instanceBounds=[{"bounds": bounds}]))
    assert isinstance(loaded, Autoscaler)
    assert in_force(datetime(2026, 1, 1), loaded.periods, loaded.bounds) == Bounds(10, 15)  # noqa: DTZ001 - the zone is the service's
    low = [{"cron": "* * ? * *", "maxReplicas": 5}]
    assert "spec.instanceBounds[0].bounds[0].maxReplicas" in errors(
        load(tutorial(instanceBounds=[{"bounds": low}]))
    )


def test_what_is_left_out_has_a_default() -> None:
    raw = tutorial(prediction=None, scaleStrategy=None, minReplicas=None, instanceBounds=None)
    del raw["spec"]["stabilizationWindowSeconds"]
    loaded = load(raw)
    assert isinstance(loaded, Autoscaler)
    assert loaded.strategy is Strategy.OBSERVER
    assert (loaded.bounds, loaded.quantile) == (Bounds(1, 50), 0.95)
    assert (loaded.forward, loaded.window) == (180, 300)


@pytest.mark.parametrize("quantile", [95, "95", 0.95, "0.95", "95.0", "9.5e1"])
def test_one_quantile_in_many_spellings(quantile: object) -> None:
    loaded = load(tutorial(prediction={"quantile": quantile}))
    assert isinstance(loaded, Autoscaler)
    assert loaded.quantile == pytest.approx(0.95)


@pytest.mark.parametrize(
    "quantile", [0, 1, "1", 1.0, 100, -5, "x", "", "nan", "inf", "9_5", 10**400]
)
def test_what_is_no_quantile_is_named_with_every_other_error(quantile: object) -> None:
    found = errors(
        load(
            tutorial(
                prediction={"quantile": quantile, "scaleUpForward": -1},
                maxReplicas=5,
                scaleTargetRef={"kind": "Deployment", "apiVersion": "v1"},
                metrics=[{"type": "Resource", "resource": {"name": "disk"}}],
                instanceBounds=[
                    {"startTime": "today", "bounds": [{"cron": "* 25 ? * *", "minReplicas": -1}]}
                ],
            )
        )
    )
    assert set(found) == {
        "spec.prediction.quantile",
        "spec.prediction.scaleUpForward",
        "spec.maxReplicas",
        "spec.scaleTargetRef.name",
        "spec.scaleTargetRef.apiVersion",
        "spec.metrics[0].resource.name",
        "spec.metrics[0].resource.target",
        "spec.instanceBounds[0].startTime",
        "spec.instanceBounds[0].bounds[0].cron",
        "spec.instanceBounds[0].bounds[0].minReplicas",
    }
    if quantile in (1, "1"):
        assert "1 % and as 100 %" in found["spec.prediction.quantile"]


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"scaleTargetRef": None}, "spec.scaleTargetRef"),
        ({"scaleTargetRef": {"name": "a", "kind": "Rollout"}}, "spec.scaleTargetRef"),
        ({"metrics": []}, "spec.metrics"),
        ({"metrics": [{"type": "Pods"}]}, "spec.metrics[0].type"),
        ({"metrics": [{"type": "Resource"}]}, "spec.metrics[0].resource"),
        ({"metrics": [{"type": "External"}]}, "spec.metrics[0].external"),
        ({"metrics": [{}] * 11}, "spec.metrics"),
        ({"maxReplicas": None}, "spec.maxReplicas"),
        ({"maxReplicas": 0}, "spec.maxReplicas"),
        ({"maxReplicas": "50"}, "spec.maxReplicas"),
        ({"minReplicas": 51}, "spec.maxReplicas"),
        ({"instanceBounds": [{}] * 51}, "spec.instanceBounds"),
        ({"instanceBounds": [{"bounds": [{}] * 51}]}, "spec.instanceBounds[0].bounds"),
        ({"instanceBounds": [{}]}, "spec.instanceBounds[0].bounds"),
        ({"stabilizationWindowSeconds": 90_000}, "spec.stabilizationWindowSeconds"),
        ({"metrics": 1}, "spec.metrics"),
        ({"instanceBounds": "x"}, "spec.instanceBounds"),
        ({"instanceBounds": 5}, "spec.instanceBounds"),
        ({"instanceBounds": True}, "spec.instanceBounds"),
        ({"minReplicas": 0}, "spec.minReplicas"),
    ],
)
def test_each_error_names_its_field(spec: dict[str, Any], path: str) -> None:
    assert path in errors(load(tutorial(**spec)))


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ("name", "../../victim/deployments/x"), ("name", "x?dryRun=All"), ("name", "..%2f..%2fx"),
        ("name", "a..b"), ("name", "X"), ("name", "x#"), ("name", "x\n"),
        ("apiVersion", "apps/v1?x"), ("apiVersion", "apps/.."), ("apiVersion", "apps/v1/.."),
        ("apiVersion", "apps/v1/namespaces/victim/deployments/x"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["Deployment", "Rollout"])
def test_a_target_leads_to_no_other_path(kind: str, part: str, text: str) -> None:
    target = {"apiVersion": "apps/v1", "kind": kind, "name": "x", part: text}
    found = errors(load(tutorial(scaleTargetRef=target)))
    assert any(path.startswith("spec.scaleTargetRef") for path in found)


@pytest.mark.parametrize("spec", [None, [], "x", 5])
def test_a_spec_that_is_none(spec: object) -> None:
    assert errors(load({"metadata": {"name": "a"}, "spec": spec}))


def test_an_unknown_strategy_observes_and_is_warned_of() -> None:
    raw = tutorial(scaleStrategy="atuo")
    loaded = load(raw)
    assert isinstance(loaded, Autoscaler)
    assert (loaded.strategy, loaded.unknown_strategy) == (Strategy.OBSERVER, "atuo")
    (warning,) = warnings(loaded)
    assert warning.startswith("spec.scaleStrategy: 'atuo' is not one of observer, auto")
    plain = load(tutorial())
    assert isinstance(plain, Autoscaler)
    assert not list(warnings(plain))


def test_external_metrics_and_quantities() -> None:
    external = {
        "type": "External",
        "external": {
            "metric": {"name": "queue-length"},
            "target": {"type": "AverageValue", "averageValue": "500m"},
        },
    }
    loaded = load(tutorial(metrics=[external]))
    assert isinstance(loaded, Autoscaler)
    assert loaded.metrics == (MetricGoal("queue-length", 0.5, is_external=True),)
