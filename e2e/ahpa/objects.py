"""Objects of the tests, and samples of the past."""

import math
from collections.abc import Callable, Iterator
from typing import Any

from ahpa.site import GPU

Object = dict[str, Any]


def ahpa(namespace: str, name: str, target: str, **spec: Any) -> Object:  # noqa: ANN401 - any field
    """The object of the vendor's tutorial, for a Deployment."""
    return {
        "apiVersion": "autoscaling.alibabacloud.com/v1beta1",
        "kind": "AdvancedHorizontalPodAutoscaler",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "scaleStrategy": "observer",
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {
                        "name": "gpu",
                        "target": {"type": "Utilization", "averageUtilization": 20},
                    },
                }
            ],
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target},
            "minReplicas": 10,
            "maxReplicas": 50,
            "stabilizationWindowSeconds": 300,
            "prediction": {"quantile": 95, "scaleUpForward": 180},
            **spec,
        },
    }


def hpa(namespace: str, name: str, target: str, least: int) -> Object:
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target},
            "minReplicas": least,
            "maxReplicas": 20,
        },
    }


def past(
    namespace: str, pod: str, load: Callable[[float], float], step: int, until: float
) -> Iterator[str]:
    """Seven days of samples of one pod, as OpenMetrics. `load` is by the part of the day, 0 to
    1."""
    day = 1440 * step
    end = math.floor(until / step) * step
    yield f"# TYPE {GPU} gauge"
    for number in range(7 * 1440, 0, -1):
        at = end - number * step
        yield f'{GPU}{{namespace="{namespace}",pod="{pod}"}} {load(at % day / day):.3f} {at}'
