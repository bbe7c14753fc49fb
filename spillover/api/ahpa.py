"""The AdvancedHorizontalPodAutoscaler of Alibaba Cloud: autoscaling.alibabacloud.com/v1beta1.

The vendor publishes no schema. Fields and their order are from its tutorial and from a client in
Java (ixrjog/cratos); docs/predictive-autoscaling.md names what is a choice of
Spillover.
"""

from typing import Any

from pydantic import Field

from spillover.api.resourcepolicy import Wire

GROUP = "autoscaling.alibabacloud.com"
VERSION = "v1beta1"
KIND = "AdvancedHorizontalPodAutoscaler"
PLURAL = "advancedhorizontalpodautoscalers"

MOST_METRICS = 10
MOST_PERIODS = 50
"""Of spec.instanceBounds, and of the bounds of each."""
LONGEST_NAME = 253
"""Of an object."""


class ScaleTarget(Wire):
    api_version: str | None = Field(None, description="API group and version, such as apps/v1.")
    kind: str | None = Field(
        None,
        description="Deployment, StatefulSet or ReplicaSet; or HorizontalPodAutoscaler, whose "
        "minReplicas is then moved.",
    )
    name: str | None = Field(None, description="Name of an object of the same namespace.")


class MetricTarget(Wire):
    type: str | None = Field(None, description="Utilization or AverageValue.")
    average_utilization: int | None = Field(
        None, description="Load that one pod is to have, in percent or in the metric's own unit."
    )
    average_value: int | str | None = Field(
        None, description="Load that one pod is to have, as a quantity such as 500m."
    )


class ResourceMetric(Wire):
    name: str | None = Field(None, description="cpu, memory, gpu, rps, rt or concurrency.")
    target: MetricTarget | None = Field(None, description="What one pod is to have.")


class MetricIdentifier(Wire):
    name: str | None = Field(None, description="Name of a query in the settings of the service.")


class ExternalMetric(Wire):
    metric: MetricIdentifier | None = Field(None, description="Which metric.")
    target: MetricTarget | None = Field(None, description="What one pod is to have.")


class Metric(Wire):
    type: str | None = Field(None, description="Resource or External.")
    resource: ResourceMetric | None = Field(None, description="A load of the target's own pods.")
    external: ExternalMetric | None = Field(None, description="A load of another query.")


class Prediction(Wire):
    quantile: int | float | str | None = Field(
        None,
        description="Share of the time in which the load stays below the forecast: 95 and 0.95 "
        "mean the same. Default 95.",
    )
    scale_up_forward: int | None = Field(
        None, description="Seconds by which replicas are there before the load. Default 180."
    )


class Bound(Wire):
    cron: str | None = Field(
        None, description="Minutes in which it holds, as five cron fields. `?` means any day."
    )
    min_replicas: int | None = Field(None, description="Fewest replicas.")
    max_replicas: int | None = Field(None, description="Most replicas.")


class InstanceBound(Wire):
    start_time: str | None = Field(
        None, description="First second in which it holds, such as 2026-01-31 00:00:00."
    )
    end_time: str | None = Field(None, description="Last second in which it holds.")
    bounds: list[Bound] | None = Field(None, description="The first whose cron matches holds.")


class Spec(Wire):
    scale_target_ref: ScaleTarget | None = Field(None, description="What is scaled.")
    metrics: list[Metric] | None = Field(
        None,
        description="The loads. The forecast is of the first. The replicas are enough for each.",
    )
    min_replicas: int | None = Field(None, description="Fewest replicas. Default 1.")
    max_replicas: int | None = Field(None, description="Most replicas.")
    scale_strategy: str | None = Field(
        None,
        description="observer (default): only the status is written. auto: replicas follow the "
        "forecast and the load. Of Spillover: scalingUpOnly never lowers, proactive follows the "
        "forecast only, reactive the load only.",
    )
    prediction: Prediction | None = Field(None, description="How the load is forecast.")
    stabilization_window_seconds: int | None = Field(
        None,
        description="Seconds for which fewer replicas must be enough before any go. Default 300.",
    )
    instance_bounds: list[InstanceBound] | None = Field(
        None, description="Other numbers of replicas at certain times. The first that holds counts."
    )


class AutoscalerObject(Wire):
    """`metadata` stays raw: the API server has checked it."""

    metadata: dict[str, Any]
    spec: Spec
