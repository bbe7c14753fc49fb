"""What components read, as it is shipped: read by that component, and not rewritten on the way."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness import changes, pods
from harness.build import control_plane
from harness.changes import Site
from harness.places import MANIFESTS, ROOT
from harness.services import component_of, redirected, services

Object = dict[str, Any]

ADDRESS = "127.77.250.77"
FOLDER = "/a-folder-of-the-pod"
RELAY = "127.77.250.99"
SERVICE = "spillover-webhook.spillover-system.svc"
SITE = Site(
    name="a-pod",
    address=ADDRESS,
    folder=Path(FOLDER),
    kubeconfig=lambda container: Path(f"{FOLDER}/{container}.kubeconfig"),
    executable=lambda word: f"/programs/{word}",
    hosts={SERVICE: RELAY},
)


def test_kube_scheduler_accepts_the_configuration_as_shipped(tmp_path: Path) -> None:
    """It decodes strictly: what a YAML library here accepts says nothing. With --write-config-to it
    ends once it has read the file, before it asks the API server anything."""
    written = tmp_path / "complete.yaml"
    ended = subprocess.run(
        [
            control_plane().binary("kube-scheduler"),
            f"--config={MANIFESTS / 'scheduler-config.yaml'}",
            f"--write-config-to={written}",
            "--master=http://127.0.0.1:1",
            "--secure-port=0",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    profiles = yaml.safe_load(written.read_text())["profiles"]
    assert [each["schedulerName"] for each in profiles] == [
        "spillover-scheduler",
        "ack-co-scheduler",
    ]
    first, second = ({**each, "schedulerName": ""} for each in profiles)
    assert first == second
    assert [each["name"] for each in first["plugins"]["filter"]["disabled"]] == ["TaintToleration"]


@pytest.mark.parametrize(
    "file",
    [
        file.relative_to(ROOT)
        for folder in ("manifests", "docs/examples", "e2e/demo")
        for file in sorted((ROOT / folder).rglob("*.yaml"))
    ],
    ids=str,
)
def test_no_key_stands_twice_in_a_yaml_file_that_users_apply(file: Path) -> None:
    """A merge key counts: strict readers take a key that it brings and that is written again for
    written twice."""
    for document in yaml.compose_all((ROOT / file).read_text(), yaml.SafeLoader):
        assert repeated(document) == []


def repeated(node: yaml.Node | None) -> list[str]:
    if isinstance(node, yaml.SequenceNode):
        return [key for each in node.value for key in repeated(each)]
    if not isinstance(node, yaml.MappingNode):
        return []
    keys = [key.value for key, _ in node.value]
    twice = [key for key in keys if keys.count(key) > 1 or key == "<<"]
    return twice + [key for _, value in node.value for key in repeated(value)]


@pytest.fixture(scope="module")
def objects() -> list[Object]:
    """What `kubectl apply -k` applies."""
    made = subprocess.run(
        [control_plane().binary("kubectl"), "kustomize", str(MANIFESTS)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return list(yaml.safe_load_all(made.stdout))


def undone(text: str) -> str:
    """The text with every change that harness/changes.py names taken back. Written down once more:
    what the module changes besides stays, and is found."""
    text = text.replace(f"  kubeconfig: {FOLDER}/kube-scheduler.kubeconfig\n", "")
    text = text.replace(f"{FOLDER}/config/", "/etc/spillover/")
    text = text.replace(f"{FOLDER}/tls/", "/etc/spillover/tls/")
    return text.replace(RELAY, SERVICE).replace(ADDRESS, "127.0.0.1")


def wanted(container: Object, address: str) -> list[str]:
    """Command and arguments as a kubelet expands them."""
    words = [*container.get("command", ()), *container.get("args", ())]
    return [word.replace("$(POD_IP)", address) for word in words]


def test_components_get_the_manifests_but_for_the_listed_changes(objects: list[Object]) -> None:
    config_maps = {
        each["metadata"]["name"]: each for each in objects if each["kind"] == "ConfigMap"
    }
    seen = []
    for deployment in (each for each in objects if each["kind"] == "Deployment"):
        template = deployment["spec"]["template"]["spec"]
        pod = pods.pod(deployment, config_maps, SITE)
        for process, container in zip(pod.containers, template["containers"], strict=True):
            program, *words = process.command
            if process.name == "kube-scheduler":
                assert words[-2:] == [
                    f"--{flag}-kubeconfig={FOLDER}/kube-scheduler.kubeconfig"
                    for flag in ("authentication", "authorization")
                ]
                words = words[:-2]
            assert [program.removeprefix("/programs/"), *map(undone, words)] == wanted(
                container, "127.0.0.1"
            )
            values = {each["name"]: each.get("value", ADDRESS) for each in container.get("env", ())}
            assert process.env == {
                **values, "KUBECONFIG": f"{FOLDER}/{process.name}.kubeconfig"
            }  # fmt: skip
            seen.append(process.name)
        for path, text in pod.files.items():
            assert undone(text) == (MANIFESTS / Path(path).name).read_text()
            seen.append(Path(path).name)
    assert sorted(seen) == [
        "certificates", "extender", "kube-scheduler", "scheduler-config.yaml", "webhook"
    ]  # fmt: skip


def test_the_api_server_gets_the_manifests_but_for_the_webhooks_addresses(
    objects: list[Object],
) -> None:
    changed = redirected(objects, services(objects, [RELAY]))
    assert len(changed) == len(objects)
    for before, after in zip(objects, changed, strict=True):
        for webhook, other in zip(
            before.get("webhooks", ()), after.get("webhooks", ()), strict=True
        ):
            path = webhook["clientConfig"]["service"]["path"]
            assert other["clientConfig"] == {"url": f"https://{RELAY}:8443{path}"}
            other["clientConfig"] = webhook["clientConfig"]
        assert after == before


def test_another_change_would_be_found(
    objects: list[Object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checks above can fail: a file that is read and written again differs."""
    applied = changes.applied
    monkeypatch.setattr(
        changes,
        "applied",
        lambda listed, text: (
            yaml.safe_dump(yaml.safe_load(applied(listed, text))) if "\n" in text else text
        ),
    )
    with pytest.raises(AssertionError):
        test_components_get_the_manifests_but_for_the_listed_changes(objects)


def test_every_deployment_is_known(objects: list[Object]) -> None:
    found = {component_of(each) for each in objects if each["kind"] == "Deployment"}
    assert found == {"certificates", "scheduler", "webhook"}


def test_liveness_begins_when_a_container_has_started(objects: list[Object]) -> None:
    """A start on a busy node takes minutes. Without a startup probe liveness ends it."""
    for deployment in (each for each in objects if each["kind"] == "Deployment"):
        for container in deployment["spec"]["template"]["spec"]["containers"]:
            if "ports" not in container:
                assert container["name"] == "certificates"  # it answers nobody
                continue
            probe = container["startupProbe"]
            assert probe["httpGet"] == container["livenessProbe"]["httpGet"]
            assert probe["periodSeconds"] * probe["failureThreshold"] >= 240
            assert "initialDelaySeconds" not in container["livenessProbe"]
