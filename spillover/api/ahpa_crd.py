"""The CustomResourceDefinition of the AdvancedHorizontalPodAutoscaler.

Columns as in the vendor's tutorial, so that `kubectl get ahpa` prints the same; columns of
Spillover are shown by `-o wide` only. As with policies, the schema has types and bounds only: the
webhook explains all errors of an object at once.
"""

from typing import Any

from spillover.api import ahpa, bounds
from spillover.api.crd import CONDITION, PRESERVE, Limits, structural

_LIMITS = Limits(
    lists={
        "metrics": ahpa.MOST_METRICS,
        "instanceBounds": ahpa.MOST_PERIODS,
        "bounds": ahpa.MOST_PERIODS,
    },
    texts={"name": ahpa.LONGEST_NAME},
)

_Column = tuple[str, str, str, int]
_COLUMNS: list[_Column] = [
    ("Strategy", "string", ".spec.scaleStrategy", 0),
    ("Reference", "string", ".spec.scaleTargetRef.name", 0),
    ("Metric", "string", ".status.targetMetric.name", 0),
    ("Target(%)", "string", ".status.targetMetric.targets", 0),
    (
        "Current(%)",
        "integer",
        ".status.currentMetrics[0].resource.current.averageUtilization",
        0,
    ),
    ("DesiredPods", "integer", ".status.desiredReplicas", 0),
    ("Replicas", "integer", ".status.currentReplicas", 0),
    ("MinPods", "integer", ".status.minReplicas", 0),
    ("MaxPods", "integer", ".status.maxReplicas", 0),
    ("Age", "date", ".metadata.creationTimestamp", 0),
    ("Periodic", "integer", ".status.periodicity", 1),
    ("Proactive", "integer", ".status.proactiveReplicas", 1),
    ("Reactive", "integer", ".status.reactiveReplicas", 1),
    ("Reason", "string", '.status.conditions[?(@.type=="ScalingActive")].reason', 1),
]


def _count(text: str) -> dict[str, Any]:
    return {"type": "integer", "description": text}


def _text(text: str) -> dict[str, Any]:
    return {"type": "string", "maxLength": bounds.LONGEST_TEXT, "description": text}


_CONDITIONS = {
    "type": "array",
    "description": "ModelAvailable, ScalingActive, AbleToScale, ScalingLimited, Invalid.",
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["type"],
    "items": CONDITION,
}
_CURRENT = {
    "type": "array",
    "description": "The load of each metric, as the sum over all pods.",
    "items": {
        "type": "object",
        "description": "One metric.",
        PRESERVE: True,
        "properties": {
            "type": {"type": "string", "description": "Resource or External."},
            "resource": {
                "type": "object",
                "description": "The load.",
                PRESERVE: True,
                "properties": {
                    "name": {"type": "string", "description": "Name of the metric."},
                    "current": {
                        "type": "object",
                        "description": "The load now.",
                        PRESERVE: True,
                        "properties": {
                            "averageUtilization": _count(
                                "The sum over all pods, as the vendor shows it under this name."
                            )
                        },
                    },
                },
            },
        },
    },
}
_STATUS = {
    "type": "object",
    "description": "What the predictive autoscaler found.",
    PRESERVE: True,
    "properties": {
        "currentMetrics": _CURRENT,
        "currentReplicas": _count("Replicas that there are."),
        "desiredReplicas": _count("Replicas that load and forecast need, before the bounds."),
        "maxReplicas": _count("Most replicas now."),
        "minReplicas": _count("Fewest replicas now."),
        "periodicity": _count("Seconds of the rhythm that was found; 0 without one."),
        "proactiveReplicas": _count("Replicas that the forecast needs."),
        "reactiveReplicas": _count("Replicas that the load of now needs."),
        "targetMetric": {
            "type": "object",
            "description": "The metric that is forecast.",
            PRESERVE: True,
            "properties": {
                "name": _text("Name of the metric."),
                "targets": _text("Load that one pod is to have."),
                "type": _text("Resource or External."),
            },
        },
        "targetRef": _text("Kind and name of what is scaled."),
        "observedGeneration": {
            "type": "integer",
            "format": "int64",
            "description": "The metadata.generation that this status describes.",
        },
        "conditions": _CONDITIONS,
    },
}


def crd() -> dict[str, Any]:
    """autoscaling.alibabacloud.com/v1beta1. The group has kinds of the vendor besides, which are
    not installed."""
    schema = ahpa.Spec.model_json_schema()
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{ahpa.PLURAL}.{ahpa.GROUP}"},
        "spec": {
            "group": ahpa.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": ahpa.KIND,
                "listKind": f"{ahpa.KIND}List",
                "plural": ahpa.PLURAL,
                "singular": ahpa.KIND.lower(),
                "shortNames": ["ahpa"],
                "categories": ["spillover"],
            },
            "versions": [
                {
                    "name": ahpa.VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [
                        {"name": name, "type": kind, "jsonPath": path, "priority": priority}
                        for name, kind, path, priority in _COLUMNS
                    ],
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "description": "Scales a workload ahead of its load.",
                            "properties": {
                                "spec": {
                                    **structural("spec", schema, schema.get("$defs", {}), _LIMITS),
                                    "description": "What the user wants.",
                                },
                                "status": _STATUS,
                            },
                        }
                    },
                }
            ],
        },
    }
