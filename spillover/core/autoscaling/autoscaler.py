"""An AdvancedHorizontalPodAutoscaler as Spillover understands it, or all errors of it."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import islice
from typing import Any

from pydantic import ValidationError

from spillover.api import ahpa
from spillover.api.bounds import LONGEST_NAME, MOST_ERRORS
from spillover.api.errors import FieldError, field_path
from spillover.api.quantity import parse_quantity
from spillover.core.autoscaling.bounds import Bounds, Period, TimedBounds
from spillover.core.autoscaling.cron import Cron

MOST_REPLICAS = 2**31 - 1
LONGEST_SECONDS = 86_400
"""Of scaleUpForward: the forecast is of one day. Of the stabilization window too."""

RESOURCES = ("cpu", "memory", "gpu", "rps", "rt", "concurrency")
HPA_KIND = "HorizontalPodAutoscaler"
_KINDS = {
    "Deployment": "apps",
    "StatefulSet": "apps",
    "ReplicaSet": "apps",
    HPA_KIND: "autoscaling",
}
_TIME = "%Y-%m-%d %H:%M:%S"
_DEFAULT_QUANTILE = 0.95
_DEFAULT_FORWARD = 180
_DEFAULT_WINDOW = 300


_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?", re.ASCII)
_WORD = re.compile(r"[A-Za-z0-9]{1,63}", re.ASCII)


class Strategy(StrEnum):
    """What is done with what is found."""

    OBSERVER = "observer"
    AUTO = "auto"
    SCALING_UP_ONLY = "scalingUpOnly"
    PROACTIVE = "proactive"
    REACTIVE = "reactive"


@dataclass(frozen=True, slots=True)
class Target:
    """What is scaled."""

    group: str
    version: str
    kind: str
    name: str

    @property
    def is_hpa(self) -> bool:
        """Whether it is an HPA, whose minimum is moved."""
        return self.kind == HPA_KIND

    @property
    def is_addressable(self) -> bool:
        """Whether all parts are such as objects have. They become parts of a path: others could
        lead elsewhere."""
        return bool(
            (not self.group or _NAME.fullmatch(self.group))
            and _WORD.fullmatch(self.version)
            and _WORD.fullmatch(self.kind)
            and _NAME.fullmatch(self.name)
            and ".." not in self.group + self.name
        )


@dataclass(frozen=True, slots=True)
class MetricGoal:
    """A load, and how much of it one pod is to have."""

    name: str
    goal: float
    is_external: bool = False


@dataclass(frozen=True, slots=True)
class AutoscalerKey:
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Autoscaler:
    """One object without errors."""

    key: AutoscalerKey
    uid: str
    generation: int
    target: Target
    metrics: tuple[MetricGoal, ...]
    """At least one. The forecast is of the first."""
    strategy: Strategy
    bounds: Bounds
    periods: tuple[Period, ...]
    quantile: float
    """Between 0 and 1."""
    forward: int
    """Seconds."""
    window: int
    """Seconds."""
    unknown_strategy: str = ""
    """What the object has as its strategy, if it is none. It then observes."""


@dataclass(frozen=True, slots=True)
class InvalidAutoscaler:
    """One object with errors. Nothing is done for it."""

    key: AutoscalerKey
    uid: str
    generation: int
    errors: tuple[FieldError, ...]


LoadedAutoscaler = Autoscaler | InvalidAutoscaler


def load(raw: Mapping[str, Any]) -> LoadedAutoscaler:
    """Never raises, whatever a user writes into the object."""
    metadata = raw.get("metadata") or {}
    key = AutoscalerKey(metadata.get("namespace", ""), metadata.get("name", ""))
    uid, generation = metadata.get("uid", ""), metadata.get("generation") or 0
    if sizes := tuple(_sizes(raw.get("spec"))):
        return InvalidAutoscaler(key, uid, generation, sizes)
    try:
        spec = ahpa.AutoscalerObject.model_validate({"spec": {}, **raw}).spec
    except ValidationError as error:
        found = islice(error.errors(), MOST_ERRORS)
        errors = tuple(sorted(FieldError(field_path(each["loc"]), each["msg"]) for each in found))
        return InvalidAutoscaler(key, uid, generation, errors)
    if errors := tuple(islice(_errors(spec), MOST_ERRORS)):
        return InvalidAutoscaler(key, uid, generation, errors)
    return _autoscaler(key, uid, generation, spec)


def parse_quantile(value: float | str) -> float:
    """A probability from 95, "95", 0.95 or "0.95". Raises ValueError."""
    written = str(value)[:40]
    problem = f"{written!r} must be between 0 and 100, as 95, or between 0 and 1, as 0.95"
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise ValueError(problem) from None
    if "_" in written:  # Python reads 9_5 as 95
        raise ValueError(problem)
    if number == 1:
        raise ValueError(
            f"{written!r} can be read as 1 % and as 100 %: write 0.01, or 99 for a"
            " forecast that the load hardly ever exceeds"
        )
    if not 0 < number < 100:
        raise ValueError(problem)
    return number if number < 1 else number / 100


def _autoscaler(key: AutoscalerKey, uid: str, generation: int, spec: ahpa.Spec) -> Autoscaler:
    """Converts a spec without errors."""
    reference = spec.scale_target_ref or ahpa.ScaleTarget()
    group, _, version = (reference.api_version or "").rpartition("/")
    prediction = spec.prediction or ahpa.Prediction()
    wish = spec.scale_strategy or Strategy.OBSERVER
    is_known = wish in list(Strategy)
    bounds = Bounds(_or(spec.min_replicas, 1), spec.max_replicas or 1)
    return Autoscaler(
        key=key,
        uid=uid,
        generation=generation,
        target=Target(group, version, reference.kind or "", reference.name or ""),
        metrics=tuple(map(_goal, spec.metrics or ())),
        strategy=Strategy(wish) if is_known else Strategy.OBSERVER,
        bounds=bounds,
        periods=tuple(_period(each, bounds) for each in spec.instance_bounds or ()),
        quantile=_DEFAULT_QUANTILE
        if prediction.quantile is None
        else parse_quantile(prediction.quantile),
        forward=_or(prediction.scale_up_forward, _DEFAULT_FORWARD),
        window=_or(spec.stabilization_window_seconds, _DEFAULT_WINDOW),
        unknown_strategy="" if is_known else wish,
    )


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


def _goal(metric: ahpa.Metric) -> MetricGoal:
    if metric.type == "External" and metric.external is not None:
        found = metric.external
        name = (found.metric or ahpa.MetricIdentifier()).name or ""
        return MetricGoal(name, _amount(found.target), is_external=True)
    resource = metric.resource or ahpa.ResourceMetric()
    return MetricGoal(resource.name or "", _amount(resource.target))


def _amount(target: ahpa.MetricTarget | None) -> float:
    if target is None:
        return 0.0
    if target.type == "AverageValue" and target.average_value is not None:
        return float(parse_quantity(target.average_value))
    return float(target.average_utilization or 0)


def _period(bound: ahpa.InstanceBound, otherwise: Bounds) -> Period:
    """What a bound leaves out is as `otherwise`."""
    return Period(
        _time(bound.start_time),
        _time(bound.end_time),
        tuple(
            TimedBounds(
                Cron.parse(each.cron or ""),
                Bounds(
                    _or(each.min_replicas, otherwise.least), _or(each.max_replicas, otherwise.most)
                ),
            )
            for each in bound.bounds or ()
        ),
    )


def _time(text: str | None) -> datetime | None:
    return datetime.strptime(text, _TIME) if text else None  # noqa: DTZ007 - the service has the zone


def _sizes(spec: object) -> Iterator[FieldError]:
    """Errors of lists that are too long to be read."""
    if not isinstance(spec, Mapping):
        return
    for name, most in (("metrics", ahpa.MOST_METRICS), ("instanceBounds", ahpa.MOST_PERIODS)):
        value = spec.get(name)
        if isinstance(value, list) and len(value) > most:
            yield FieldError(f"spec.{name}", f"{len(value)} are more than {most}")
            return
    periods = spec.get("instanceBounds")
    for index, period in enumerate(periods if isinstance(periods, list) else ()):
        bounds = period.get("bounds") if isinstance(period, Mapping) else None
        if isinstance(bounds, list) and len(bounds) > ahpa.MOST_PERIODS:
            path = f"spec.instanceBounds[{index}].bounds"
            yield FieldError(path, f"{len(bounds)} are more than {ahpa.MOST_PERIODS}")


def _errors(spec: ahpa.Spec) -> Iterator[FieldError]:
    yield from _target_errors(spec.scale_target_ref)
    if not spec.metrics:
        yield FieldError("spec.metrics", "at least one metric is required")
    for index, metric in enumerate(spec.metrics or ()):
        yield from _metric_errors(f"spec.metrics[{index}]", metric)
    yield from _number("spec.minReplicas", spec.min_replicas, 1, MOST_REPLICAS)
    if spec.max_replicas is None:
        yield FieldError("spec.maxReplicas", "is required")
    yield from _number("spec.maxReplicas", spec.max_replicas, 1, MOST_REPLICAS)
    yield from _order("spec.maxReplicas", _or(spec.min_replicas, 1), spec.max_replicas)
    path = "spec.stabilizationWindowSeconds"
    yield from _number(path, spec.stabilization_window_seconds, 0, LONGEST_SECONDS)
    if spec.prediction is not None:
        yield from _prediction_errors(spec.prediction)
    for index, period in enumerate(spec.instance_bounds or ()):
        least = _or(spec.min_replicas, 1)
        yield from _period_errors(f"spec.instanceBounds[{index}]", period, least)


def _target_errors(target: ahpa.ScaleTarget | None) -> Iterator[FieldError]:
    path = "spec.scaleTargetRef"
    if target is None:
        yield FieldError(path, "is required")
        return
    yield from _name_errors(f"{path}.name", target.name)
    kind, version = target.kind or "", target.api_version or ""
    if kind not in _KINDS:
        # Other kinds have a scale subresource too; which ones, only the cluster knows.
        group, _, version = version.rpartition("/")
        if not Target(group, version, kind, "any").is_addressable:
            yield FieldError(path, "kind and apiVersion are required, such as Rollout of x.io/v1")
    elif version.rpartition("/")[0] != _KINDS[kind]:
        wanted = "apps/v1" if _KINDS[kind] == "apps" else "autoscaling/v2"
        yield FieldError(f"{path}.apiVersion", f"{version!r:.80} has no {kind}: write {wanted}")
    elif not _WORD.fullmatch(version.rpartition("/")[2]):
        yield FieldError(f"{path}.apiVersion", f"{version!r:.80} is no version")


def _name_errors(path: str, name: str | None) -> Iterator[FieldError]:
    if not name:
        yield FieldError(path, "is required")
    elif not _NAME.fullmatch(name) or ".." in name:
        yield FieldError(path, f"must be the name of an object, is {name[:LONGEST_NAME]!r}")


def _metric_errors(path: str, metric: ahpa.Metric) -> Iterator[FieldError]:
    if metric.type == "Resource":
        if metric.resource is None:
            yield FieldError(f"{path}.resource", "is required")
            return
        name = metric.resource.name
        if name not in RESOURCES:
            choices = ", ".join(RESOURCES)
            yield FieldError(f"{path}.resource.name", f"{name!r:.80} is not one of {choices}")
        yield from _goal_errors(f"{path}.resource.target", metric.resource.target)
    elif metric.type == "External":
        if metric.external is None:
            yield FieldError(f"{path}.external", "is required")
            return
        named = metric.external.metric or ahpa.MetricIdentifier()
        if not named.name or len(named.name) > ahpa.LONGEST_NAME:
            yield FieldError(f"{path}.external.metric.name", "is required, and not too long")
        yield from _goal_errors(f"{path}.external.target", metric.external.target)
    else:
        yield FieldError(f"{path}.type", f"{metric.type!r:.80} is not one of Resource, External")


def _goal_errors(path: str, target: ahpa.MetricTarget | None) -> Iterator[FieldError]:
    if target is None:
        yield FieldError(path, "is required")
    elif target.type == "Utilization":
        if target.average_utilization is None:
            yield FieldError(f"{path}.averageUtilization", "is required")
        yield from _number(
            f"{path}.averageUtilization", target.average_utilization, 1, MOST_REPLICAS
        )
    elif target.type == "AverageValue":
        if target.average_value is None:
            yield FieldError(f"{path}.averageValue", "is required")
            return
        try:
            if parse_quantity(target.average_value) <= 0:
                yield FieldError(f"{path}.averageValue", "must be above 0")
        except ValueError as error:
            yield FieldError(f"{path}.averageValue", str(error))
    else:
        yield FieldError(
            f"{path}.type", f"{target.type!r:.80} is not one of Utilization, AverageValue"
        )


def _prediction_errors(prediction: ahpa.Prediction) -> Iterator[FieldError]:
    if prediction.quantile is not None:
        try:
            parse_quantile(prediction.quantile)
        except ValueError as error:
            yield FieldError("spec.prediction.quantile", str(error))
    path = "spec.prediction.scaleUpForward"
    yield from _number(path, prediction.scale_up_forward, 0, LONGEST_SECONDS)


def _period_errors(path: str, period: ahpa.InstanceBound, least: int) -> Iterator[FieldError]:
    ends = []
    for name, text in (("startTime", period.start_time), ("endTime", period.end_time)):
        try:
            ends.append(_time(text))
        except ValueError:
            problem = f"{text!r:.80} is not a time such as 2026-01-31 00:00:00"
            yield FieldError(f"{path}.{name}", problem)
    if len(ends) == 2 and ends[0] and ends[1] and ends[1] < ends[0]:
        yield FieldError(f"{path}.endTime", "is before startTime")
    if not period.bounds:
        yield FieldError(f"{path}.bounds", "at least one is required")
    for index, bound in enumerate(period.bounds or ()):
        yield from _bound_errors(f"{path}.bounds[{index}]", bound, least)


def _bound_errors(path: str, bound: ahpa.Bound, least: int) -> Iterator[FieldError]:
    """`least` is spec.minReplicas, which holds where the bound has none."""
    try:
        Cron.parse(bound.cron or "")
    except ValueError as error:
        yield FieldError(f"{path}.cron", str(error))
    yield from _number(f"{path}.minReplicas", bound.min_replicas, 1, MOST_REPLICAS)
    yield from _number(f"{path}.maxReplicas", bound.max_replicas, 1, MOST_REPLICAS)
    yield from _order(f"{path}.maxReplicas", _or(bound.min_replicas, least), bound.max_replicas)


def _number(path: str, value: int | None, least: int, most: int) -> Iterator[FieldError]:
    if value is not None and not least <= value <= most:
        yield FieldError(path, f"must be from {least} to {most}, is {value}")


def _order(path: str, least: int, most: int | None) -> Iterator[FieldError]:
    if most is not None and most >= 1 and least > most:
        yield FieldError(path, f"{most} is below minReplicas, {least}")


def warnings(found: Autoscaler) -> Iterable[str]:
    """What is doubtful in an object without errors."""
    if found.unknown_strategy:
        choices = ", ".join(Strategy)
        yield (
            f"spec.scaleStrategy: {found.unknown_strategy[:80]!r} is not one of {choices}:"
            " nothing is scaled, as with observer"
        )
