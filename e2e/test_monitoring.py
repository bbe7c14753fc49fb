"""The overlay for Prometheus Operator: what it finds, its alerts, and what the reference says of
both. Alerts and queries are judged by Prometheus' own engine."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.build import control_plane, monitoring
from harness.places import MONITORING, ROOT

Object = dict[str, Any]

CASES = ROOT / "e2e" / "monitoring" / "alerts.yaml"
REFERENCE = ROOT / "docs" / "reference" / "metrics.md"


@pytest.fixture(scope="module")
def overlay() -> list[Object]:
    """Its objects, as kustomize makes them."""
    made = ran(control_plane().binary("kubectl"), "kustomize", str(MONITORING))
    return list(yaml.safe_load_all(made))


@pytest.fixture(scope="module")
def rules(overlay: list[Object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The alerts as a rules file of Prometheus, in a folder with their cases."""
    folder = tmp_path_factory.mktemp("rules")
    (rule,) = of_kind("PrometheusRule", overlay)
    (folder / "rules.yaml").write_text(yaml.safe_dump(rule["spec"]))
    shutil.copy(CASES, folder)
    return folder / "rules.yaml"


def ran(*command: str) -> str:
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, f"{command}: {ended.stdout}{ended.stderr}"
    return ended.stdout


def promtool(*arguments: str) -> str:
    return ran(monitoring().binary("promtool"), *arguments)


def of_kind(kind: str, objects: list[Object]) -> list[Object]:
    return [each for each in objects if each["kind"] == kind]


def selected(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


def alerts(rules: Path) -> list[Object]:
    (group,) = yaml.safe_load(rules.read_text())["groups"]
    found: list[Object] = group["rules"]
    return found


def test_each_monitor_finds_the_metrics_port_of_one_component(overlay: list[Object]) -> None:
    scraped = {}
    for monitor in of_kind("ServiceMonitor", overlay):
        (service,) = (
            each
            for each in of_kind("Service", overlay)
            if selected(monitor["spec"]["selector"]["matchLabels"], each["metadata"]["labels"])
        )
        (deployment,) = (
            each
            for each in of_kind("Deployment", overlay)
            if selected(service["spec"]["selector"], each["spec"]["template"]["metadata"]["labels"])
        )
        (endpoint,) = monitor["spec"]["endpoints"]
        (port,) = (p for p in service["spec"]["ports"] if p["name"] == endpoint["port"])
        (number,) = (
            p["containerPort"]
            for container in deployment["spec"]["template"]["spec"]["containers"]
            for p in container.get("ports", ())
            if p["name"] == port["targetPort"]
        )
        assert port["port"] == number
        assert endpoint["honorLabels"], "the label namespace is the policy's"
        scraped[deployment["metadata"]["name"]] = number
    assert scraped == {"spillover-scheduler": 8889, "spillover-webhook": 8444}


def test_the_overlay_is_the_base_and_more(overlay: list[Object]) -> None:
    base = ran(control_plane().binary("kubectl"), "kustomize", str(ROOT / "manifests" / "base"))
    assert [each for each in yaml.safe_load_all(base) if each not in overlay] == []


def test_the_dashboard_is_where_grafana_looks(overlay: list[Object]) -> None:
    (found,) = (
        each
        for each in of_kind("ConfigMap", overlay)
        if each["metadata"].get("labels", {}).get("grafana_dashboard") == "1"
    )
    (text,) = found["data"].values()
    assert json.loads(text) == json.loads((MONITORING / "dashboard.json").read_text())


def test_the_alerts_are_valid(rules: Path) -> None:
    promtool("check", "rules", "--lint=all", "--lint-fatal", str(rules))


def test_the_alerts_fire_when_they_should_and_only_then(rules: Path) -> None:
    promtool("test", "rules", str(rules.parent / CASES.name))


def test_each_alert_has_cases_of_both_kinds_and_a_paragraph(rules: Path) -> None:
    names = [alert["alert"] for alert in alerts(rules)]
    cases = [
        case
        for test in yaml.safe_load(CASES.read_text())["tests"]
        for case in test["alert_rule_test"]
    ]
    fires = {case["alertname"] for case in cases if case["exp_alerts"]}
    silent = {case["alertname"] for case in cases if not case["exp_alerts"]}
    assert set(names) == fires == silent
    assert re.findall(r"^### (Spillover\w+)$", REFERENCE.read_text(), re.MULTILINE) == names


def test_each_alert_says_what_to_do(rules: Path) -> None:
    for alert in alerts(rules):
        assert alert["labels"]["severity"] in ("critical", "warning", "info")
        assert alert["annotations"].keys() == {"summary", "description", "runbook"}
        place, _, anchor = alert["annotations"]["runbook"].partition("#")
        assert ROOT / place == REFERENCE
        assert anchor == alert["alert"].lower()


def test_the_plain_configuration_of_the_reference_is_valid(tmp_path: Path) -> None:
    """But for the discovery, which needs a cluster's own Prometheus."""
    (text,) = re.findall(r"```yaml\n(scrape_configs:\n.*?)```", REFERENCE.read_text(), re.DOTALL)
    config = yaml.safe_load(text)
    for job in config["scrape_configs"]:
        assert job.pop("kubernetes_sd_configs")
        assert job["honor_labels"]
        job["static_configs"] = [{"targets": ["127.0.0.1:8889"]}]
    file = tmp_path / "prometheus.yaml"
    file.write_text(yaml.safe_dump(config))
    promtool("check", "config", str(file))
