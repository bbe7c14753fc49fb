"""The dashboard, its queries answered by a real Prometheus that scrapes a real cluster."""

import re
import subprocess
import time
import urllib.request
from math import ceil, isnan
from pathlib import Path

import pytest
import yaml

from harness.build import monitoring
from harness.cluster import Cluster
from harness.panels import Panel, load, substituted, templates, variables
from harness.places import MONITORING, ROOT
from harness.prometheus import Prometheus, scraping, targets
from harness.scenes import VKE, deployment, three_tier_nodes, three_tiers
from harness.stage import Scene
from harness.watch import is_ready

REFERENCE = ROOT / "docs" / "reference" / "metrics.md"
NAME = re.compile(r"\bspillover_\w+")
FILLED = {
    "Pods in units": {
        "app: prepaid": 2, "app: eci": 2, "app: postpaid": 2, "app: max of eci": 2,
    },
    "Pods of policies": {"app: ready": 6, "app: pending": 1, "app: unscheduled": 1},
    "Fill of units with a max": {"app: eci": 1},
    "Overshoot": {"pods above a max": 0},
    "Pods that wait for a node": {"app": 1},
}  # fmt: skip
"""Seven pods over two prepaid nodes, a maximum of two and two pay-as-you-go nodes."""
MAY_BE_EMPTY = {"Failures"}


@pytest.fixture(scope="module")
def exposed(cluster: Cluster) -> set[str]:
    """The names of all metrics of all components."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    names = set()
    for _, _, target in targets(cluster):
        with opener.open(f"http://{target}/metrics", timeout=10) as answer:
            names |= set(re.findall(r"^# TYPE (\w+) ", answer.read().decode(), re.MULTILINE))
    # The client library tells of each counter when it began.
    return {name for name in names if not name.endswith("_created")}


def expressions() -> list[str]:
    values = variables(60)
    return [substituted(query.expression, values) for panel in load() for query in panel.queries]


def used(text: str) -> set[str]:
    """Metrics by their names, without what a histogram's series add."""
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in NAME.findall(text)}


def test_every_query_is_promql(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": expression}
        for number, expression in enumerate(expressions())
    ]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    command = [monitoring().binary("promtool"), "check", "rules", str(file)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    assert f"{len(rules)} rules found" in ended.stdout


@pytest.mark.parametrize(
    "text",
    ["\n".join(expressions()), "\n".join(templates()), (MONITORING / "alerts.yaml").read_text()],
    ids=["panels", "variables", "alerts"],
)
def test_only_metrics_that_exist_are_used(exposed: set[str], text: str) -> None:
    assert used(text)
    assert used(text) - exposed == set()


def test_the_reference_names_every_metric(exposed: set[str]) -> None:
    rows = re.findall(r"^\| `(spillover_\w+)` \|", REFERENCE.read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(exposed)


def test_every_panel_shows_what_is_so(scene: Scene) -> None:
    begun = time.time()
    with scraping(scene.cluster) as prometheus:
        scene.add_nodes(*three_tier_nodes())
        scene.add(three_tiers(VKE, scene.namespace, "app"))
        scene.add(deployment(scene.namespace, "app", "spillover-scheduler", replicas=7))
        scene.pods.wait_for(lambda pods: sum(map(is_ready, pods)) == 6, 60, "6 ready")
        panels = load()
        assert FILLED.keys() | MAY_BE_EMPTY <= {panel.title for panel in panels}
        for panel in panels:
            expected = FILLED.get(panel.title)
            deadline = time.monotonic() + 20
            while not is_content(expected, shown := values(panel, prometheus, scene.namespace)):
                if panel.title in MAY_BE_EMPTY:
                    break
                assert time.monotonic() < deadline, f"{panel.title}: {shown}"
                time.sleep(0.2)
        (overshoot,) = (panel for panel in panels if panel.title == "Overshoot")
        (query,) = overshoot.queries
        now = time.time()
        expression = substituted(query.expression, of(scene.namespace))
        # Whole steps back from now: the last step is now, when the series is known to be there.
        start = now - ceil(now - begun)
        found = list(prometheus.query_range(expression, start, now))
        assert found
        for series in found:
            assert {value for _, value in series.points} == {0.0}


def of(namespace: str) -> dict[str, str]:
    return {**variables(60), "namespace": namespace}


def values(panel: Panel, prometheus: Prometheus, namespace: str) -> dict[str, float]:
    """What a panel shows now, by the names in its legend."""
    return {
        query.name(series.labels): series.last
        for query in panel.queries
        for series in prometheus.query(substituted(query.expression, of(namespace)))
    }


def is_content(expected: dict[str, int] | None, shown: dict[str, float]) -> bool:
    """Without an expectation, any number will do."""
    if expected is None:
        return any(not isnan(value) for value in shown.values())
    return shown == expected
