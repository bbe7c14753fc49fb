"""The federation agent as its document installs it: in a container, on a real kubelet. One cluster
is the hub and the only member."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from federation import objects
from harness import readme
from harness.build import control_plane
from harness.client import Client, Object
from harness.explaining import spillover
from harness.install import NAMESPACE
from harness.node.host import search_path
from harness.places import ROOT
from harness.scenes import ACK, deployment, node, policy
from harness.site import Site
from harness.waiting import until
from harness.watch import is_ready
from spillover.api.quantity import parse_quantity

MEMBER = "vke-poc1"


def contexts(client: Client, file: Path) -> None:
    """A kubeconfig with the hub and the member as the document calls them."""
    config = yaml.safe_load(client.kubeconfig.read_text())
    (context,) = (each["context"] for each in config["contexts"])
    config["contexts"] = [{"name": name, "context": context} for name in ("hub", MEMBER)]
    file.touch(mode=0o600)
    file.write_text(yaml.safe_dump(config))


def replaced(client: Client) -> dict[str, str]:
    """What a user writes in place of the document's words. The cluster has no DNS."""
    service = json.loads(client.kubectl("get", "service/kubernetes", "-n", "default", "-o", "json"))
    text = client.kubectl("get", "deployment/spillover-webhook", "-n", NAMESPACE, "-o", "json")
    (container,) = json.loads(text)["spec"]["template"]["spec"]["containers"]
    tag = str(container["image"]).rpartition(":")[2]
    return {
        "https://hub.example.com:6443": f"https://{service['spec']['clusterIP']}",
        "newTag: 0.1.0": f"newTag: {tag}",
    }


@pytest.fixture(scope="module")
def agent(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Follows the document up to where the hub shows the fleet."""
    try:
        install(site.client, tmp_path_factory.mktemp("agent"))
        yield site
    finally:
        remove(site.client)


def install(client: Client, folder: Path) -> None:
    client.apply(*objects.crds())
    client.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
    contexts(client, folder / "both.kubeconfig")
    (folder / "manifests").symlink_to(ROOT / "manifests")
    environment = {
        "NO_PROXY": "*",
        "KUBECONFIG": str(folder / "both.kubeconfig"),
        "PATH": f"{control_plane().folder}:{Path(sys.base_prefix) / 'bin'}:{search_path()}",
    }
    words = replaced(client)
    for step in in_order(readme.steps("The agent", (ROOT / "docs/federation.md").read_text())):
        text = step.text
        for word, ours in words.items():
            text = text.replace(word, ours)
        if step.path:
            (folder / step.path).parent.mkdir(parents=True, exist_ok=True)
            (folder / step.path).write_text(text)
        else:
            readme.run(text, folder, environment)


def remove(client: Client) -> None:
    for part in ("member", "hub"):
        client.kubectl(
            "delete", "-k", str(ROOT / "manifests/overlays/federation-kubeadmiral" / part),
            "--ignore-not-found", "--timeout=60s", seconds=90,
        )  # fmt: skip
    for kind, *names in (
        ("secret", "spillover-hub", "-n", NAMESPACE),
        ("crd", *(each["metadata"]["name"] for each in objects.crds())),
    ):
        client.kubectl("delete", kind, *names, "--ignore-not-found")


def in_order(steps: Iterator[readme.Step]) -> list[readme.Step]:
    """Files first: the document shows a file after the command that applies it. The commands up to
    the first one of Spillover itself."""
    found = list(steps)
    end = next(n for n, each in enumerate(found) if each.text.startswith("spillover "))
    return [each for each in found if each.path] + [each for each in found[:end] if not each.path]


def agents(client: Client) -> list[Object]:
    found = client.items("pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/component=agent")
    return [each for each in found if "deletionTimestamp" not in each["metadata"]]


def restarts(client: Client) -> int:
    (pod,) = agents(client)
    return int(pod["status"]["containerStatuses"][0]["restartCount"])


def inside(client: Client, *words: str, check: bool = True) -> str:
    (pod,) = agents(client)
    name = pod["metadata"]["name"]
    return client.kubectl("exec", name, "-n", NAMESPACE, "--", *words, check=check)


def is_running(client: Client) -> bool:
    return [is_ready(each) for each in agents(client)] == [True]


def test_the_agent_reports_from_a_container(agent: Site, namespace: str) -> None:
    client = agent.client
    try:
        until(lambda: is_running(client), 60, "the agent is ready")
    except TimeoutError:
        print(client.kubectl("logs", "deployment/spillover-agent", "-n", NAMESPACE))
        print(json.dumps([each["status"] for each in agents(client)]))
        raise
    client.add_nodes(node("agent-0", gpus=2, labels={"pool": "agent"}))
    client.apply(
        policy(ACK, namespace, "gpu", selector={"app": "gpu"},
               units=[{"resource": "ecs", "nodeSelector": {"pool": "agent"}, "max": 2}]),
        propagation(namespace),
    )  # fmt: skip
    workload = deployment(namespace, "gpu", "default-scheduler", replicas=3)
    # As the engine marks what it has created in a member.
    workload["metadata"]["labels"] = {objects.POLICY_LABEL: "all", objects.MANAGED_LABEL: "true"}
    client.apply(workload)
    until_shown(client, [MEMBER, 3, [2], 1])

    (kib,) = re.findall(
        r"VmRSS:\s+(\d+) kB",
        inside(client, "python", "-c", "print(open('/proc/1/status').read())"),
    )
    (asked,) = (
        each["resources"]["requests"]["memory"] for each in agents(client)[0]["spec"]["containers"]
    )
    print(f"agent: {int(kib) / 1024:.0f} MiB of {asked}")
    assert int(kib) * 1024 < parse_quantity(asked)
    assert restarts(client) == 0

    inside(client, "python", "-c", "import os; os.kill(1, 9)")  # the kernel keeps it from this
    inside(client, "python", "-c", "import os; os.kill(1, 15)", check=False)  # it ends with it
    until(lambda: restarts(client) == 1 and is_running(client), 120, "one restart")
    client.kubectl("scale", "deployment/gpu", "-n", namespace, "--replicas=2")
    until_shown(client, [MEMBER, 2, [2], 0])


def test_pod_security_restricted_has_nothing_to_say_of_the_agent(agent: Site) -> None:
    client = agent.client
    text = client.kubectl("get", "deployment/spillover-agent", "-n", NAMESPACE, "-o", "json")
    trial = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "trial-agent", "namespace": NAMESPACE},
        "spec": json.loads(text)["spec"]["template"]["spec"],
    }
    client.kubectl(
        "create", "--dry-run=server", "--warnings-as-errors", "-f", "-", stdin=json.dumps(trial)
    )


def until_shown(client: Client, *rows: list[object]) -> None:
    try:
        until(lambda: shown(client) == list(rows), 60, f"the hub shows {rows}")
    except TimeoutError:
        print(spillover(client, "federation", "status", "-o", "json"))
        print(client.kubectl("get", "pods", "-A", "-o", "wide"))
        print(client.kubectl("logs", "deployment/spillover-agent", "-n", NAMESPACE))
        raise


def shown(client: Client) -> list[list[object]]:
    """Member, replicas, pods by unit and unschedulable pods of each row of the hub's table."""
    rows = json.loads(spillover(client, "federation", "status", "-o", "json"))
    return [
        [each["member"], each["replicas"], [pods for _, pods in each["units"]],
         each["unschedulable"]]
        for each in rows
    ]  # fmt: skip


def propagation(namespace: str) -> Object:
    return {
        "apiVersion": f"{objects.GROUP}/v1alpha1",
        "kind": "PropagationPolicy",
        "metadata": {"name": "all", "namespace": namespace},
        "spec": {
            "schedulingMode": "Divide",
            "placement": [{"cluster": MEMBER, "preferences": {"weight": 1}}],
        },
    }
