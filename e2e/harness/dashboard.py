"""./dev dashboard: the Grafana dashboard, drawn from what Prometheus scrapes during a demo."""

import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from harness.cluster import Cluster, Options, running
from harness.demo import FILES, STEPS, settled
from harness.drawing import Answered, Span, draw
from harness.panels import Panel, load, substituted, variables
from harness.places import ROOT
from harness.prometheus import Prometheus, scraping
from harness.scenes import VKE, deployment, policy
from harness.watch import Watch, is_ready

Object = dict[str, Any]

NAME = "dashboard"
PICTURE = ROOT / "docs" / "dashboard.png"
_BATCH_STEPS = (2, 5, 8, 2)
_STEP_SECONDS = 60.0
_LOOK_SECONDS = 15.0
"""Each outcome is a plateau in the picture."""
_RATE_SECONDS = 10
"""Ten scrapes; Grafana takes four at least."""


def dashboard(target: Path) -> int:
    """Plays the demo and a second policy, on a cluster of its own, and writes the picture. Returns
    the exit status."""
    cluster = Cluster(NAME)
    with running(cluster, Options()), scraping(cluster) as prometheus:
        start = time.time()
        _play(cluster)
        span = Span(start, time.time(), step=1.0)
        answered = [_answered(panel, prometheus, span) for panel in load()]
        draw("Spillover", answered, span, target)
    for each in answered:
        if not any(each.series):
            _say(f"no data: {each.panel.title}")
    print(target)
    return 0


def _answered(panel: Panel, prometheus: Prometheus, span: Span) -> Answered:
    values = variables(_RATE_SECONDS)
    return Answered(
        panel,
        tuple(
            tuple(
                prometheus.query_range(
                    substituted(query.expression, values), span.start, span.end, span.step
                )
            )
            for query in panel.queries
        ),
    )


def _play(cluster: Cluster) -> None:
    for name in ("nodes.yaml", "policy.yaml", "workload.yaml"):
        cluster.kubectl("apply", "-f", str(FILES / name))
    cluster.create(_batch_policy(), deployment("default", "batch", "spillover-scheduler", gpus=0))
    cluster.kubectl("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=60s")
    with Watch(cluster, "/api/v1/namespaces/default/pods") as watch:
        time.sleep(_LOOK_SECONDS / 3)
        for inference, batch in zip(STEPS, _BATCH_STEPS, strict=True):
            _say(f"{inference} replicas of inference, {batch} of batch")
            cluster.kubectl("scale", "deployment/inference", f"--replicas={inference}")
            cluster.kubectl("scale", "deployment/batch", f"--replicas={batch}")
            watch.wait_for(
                partial(_both_settled, inference, batch), _STEP_SECONDS, "both workloads settled"
            )
            time.sleep(_LOOK_SECONDS)


def _both_settled(inference: int, batch: int, pods: list[Object]) -> bool:
    ready = list(map(is_ready, _of("batch", pods)))
    return settled(_of("inference", pods), inference) and len(ready) == sum(ready) == batch


def _batch_policy() -> Object:
    """In the other dialect: pods without GPUs, beside the demo's."""
    return policy(
        VKE,
        "default",
        "batch",
        selector={"app": "batch"},
        strategy="require",
        subsets=[
            {
                "name": "prepaid",
                "type": "ecs",
                "nodeSelectorTerm": [{"key": "pool", "operator": "In", "values": ["prepaid"]}],
                "maxReplicas": 3,
            },
            {"name": "serverless", "type": "vci", "maxReplicas": 3},
            {
                "name": "postpaid",
                "type": "ecs",
                "nodeSelectorTerm": [{"key": "pool", "operator": "In", "values": ["postpaid"]}],
            },
        ],
    )


def _of(app: str, pods: list[Object]) -> list[Object]:
    return [pod for pod in pods if pod["metadata"]["labels"].get("app") == app]


def _say(text: str) -> None:
    print(f"==> {text}", file=sys.stderr, flush=True)
