"""The transformation of a Pod template into processes."""

from pathlib import Path
from typing import Any

from harness import pods
from harness.changes import Site

SITE = Site(
    name="web-0",
    address="127.77.3.10",
    folder=Path("/pods/web-0"),
    kubeconfig=lambda container: Path(f"/pods/web-0/{container}.kubeconfig"),
    executable=lambda word: f"/bin/{word}",
)


def transform(container: dict[str, Any], data: dict[str, str] | None = None) -> pods.Pod:
    deployment = {
        "metadata": {"name": "web", "namespace": "system"},
        "spec": {
            "template": {
                "spec": {
                    "terminationGracePeriodSeconds": 7,
                    "containers": [{"name": "main", **container}],
                    "volumes": [{"name": "config", "configMap": {"name": "cm"}}],
                }
            }
        },
    }
    return pods.pod(deployment, {"cm": {"data": data or {}}}, SITE)


def test_arguments_lead_to_this_place() -> None:
    pod = transform(
        {
            "command": ["serve", "--config=/etc/it/a.yaml", "/etc/it", "--etc=/etc/item"],
            "args": ["--listen=127.0.0.1:80", "--ip=$(POD_IP)", "$(UNKNOWN)", "$(COLOR)"],
            "env": [
                {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "COLOR", "value": "red"},
            ],
            "volumeMounts": [{"name": "config", "mountPath": "/etc/it"}],
        }
    )
    assert pod.containers[0].command == [
        "/bin/serve",
        "--config=/pods/web-0/config/a.yaml",
        "/pods/web-0/config",
        "--etc=/etc/item",
        "--listen=127.77.3.10:80",
        "--ip=127.77.3.10",
        "$(UNKNOWN)",
        "red",
    ]
    assert pod.containers[0].env["KUBECONFIG"] == "/pods/web-0/main.kubeconfig"
    assert pod.grace_seconds == 7


def test_mounted_files_get_the_pods_address_and_the_scheduler_its_credentials() -> None:
    config = "# a comment\nclientConnection:\n  qps: 300\nurl: &u http://127.0.0.1:8888\n"
    pod = transform({"command": ["kube-scheduler"]}, {"a.yaml": config, "b": "host 127.0.0.1"})
    assert pod.files["config/b"] == "host 127.77.3.10"
    assert pod.files["config/a.yaml"] == (
        "# a comment\nclientConnection:\n"
        "  kubeconfig: /pods/web-0/kube-scheduler.kubeconfig\n"
        "  qps: 300\nurl: &u http://127.77.3.10:8888\n"
    )
    assert pod.containers[0].command[1:] == [
        "--authentication-kubeconfig=/pods/web-0/main.kubeconfig",
        "--authorization-kubeconfig=/pods/web-0/main.kubeconfig",
    ]


def test_readiness_probes_become_urls() -> None:
    pod = transform(
        {
            "command": ["serve"],
            "ports": [{"name": "https", "containerPort": 10259}],
            "readinessProbe": {"httpGet": {"path": "/readyz", "port": "https", "scheme": "HTTPS"}},
        }
    )
    assert pod.containers[0].probe == "https://127.77.3.10:10259/readyz"
    assert transform({"command": ["serve"]}).containers[0].probe is None
