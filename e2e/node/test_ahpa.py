"""The predictive autoscaler as its document installs it: in containers, on a real kubelet, behind a
real Service."""

import base64
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ahpa.objects import ahpa
from harness import readme
from harness.build import control_plane
from harness.client import Client, ClusterError
from harness.install import NAMESPACE
from harness.node.host import search_path
from harness.places import ROOT
from harness.site import Site
from harness.waiting import until

API_SERVICE = "v1beta1.metrics.alibabacloud.com"
PATH = "/apis/metrics.alibabacloud.com/v1beta1/namespaces/{}/predictionsobserver/fib-gpu"


@pytest.fixture(scope="module")
def installed(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Follows the document: first what installs, at the end what removes."""
    client, folder = site.client, tmp_path_factory.mktemp("ahpa")
    (folder / "manifests").symlink_to(ROOT / "manifests")
    environment = {
        "NO_PROXY": "*",
        "KUBECONFIG": str(client.kubeconfig),
        "PATH": f"{control_plane().folder}:{Path(sys.base_prefix) / 'bin'}:{search_path()}",
    }
    text = (ROOT / "docs/predictive-autoscaling.md").read_text()
    steps = list(readme.steps("Install", text))
    removing = [step for step in steps if step.text.startswith("kubectl delete")]
    assert len(removing) == 3
    try:
        for step in steps:
            if step.path:
                (folder / step.path).parent.mkdir(parents=True, exist_ok=True)
                (folder / step.path).write_text(step.text.replace("newTag: 0.1.0", tag(client)))
            elif step not in removing:
                readme.run(step.text, folder, environment)
        yield client
    finally:
        for step in removing:
            readme.run(step.text, folder, environment)
        client.kubectl(
            "delete", "configmap", "application-intelligence", "-n", "kube-system",
            "--ignore-not-found",
        )  # fmt: skip


def tag(client: Client) -> str:
    """The image that this cluster has."""
    text = client.kubectl("get", "deployment/spillover-webhook", "-n", NAMESPACE, "-o", "json")
    (container,) = json.loads(text)["spec"]["template"]["spec"]["containers"]
    return f"newTag: {container['image'].rpartition(':')[2]}"


def test_it_serves_charts_from_containers(installed: Client, namespace: str) -> None:
    """There is no Prometheus here: the page says so, and so does the status."""
    installed.apply(ahpa(namespace, "fib-gpu", "nothing"))
    path = PATH.format(namespace)

    def page() -> str:
        answer = json.loads(installed.kubectl("get", "--raw", path))
        return base64.b64decode(answer["content"]).decode()

    assert "Deployment nothing does not exist" in page()

    def reason() -> str:
        return installed.kubectl(
            "get", "ahpa", "fib-gpu", "-n", namespace, "-o",
            'jsonpath={.status.conditions[?(@.type=="AbleToScale")].reason}',
        )  # fmt: skip

    until(lambda: reason() == "TargetNotFound", 90, "the status says why nothing is scaled")
    with pytest.raises(ClusterError, match=r"prediction\.quantile"):
        installed.apply(ahpa(namespace, "bad", "nothing", prediction={"quantile": 0}))


def test_only_the_front_proxy_is_answered(installed: Client, namespace: str) -> None:
    """Also where one authority signs the certificates of all clients, as here: its common name
    tells the front proxy apart."""
    pods = installed.items("pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/component=ahpa")
    assert len(pods) == 2
    address = pods[0]["status"]["podIP"]
    script = (
        "import ssl,sys,urllib.request as r,urllib.error as e\n"
        "c=ssl._create_unverified_context()\n"
        f"q=r.Request('https://{address}:8446{PATH.format(namespace)}',"
        "headers={'X-Remote-User':'system:admin','X-Remote-Group':'system:masters'})\n"
        "try: print(r.urlopen(q,context=c).status)\n"
        "except e.HTTPError as error: print(error.code)\n"
    )
    name = pods[1]["metadata"]["name"]
    answer = installed.kubectl("exec", name, "-n", NAMESPACE, "--", "python", "-c", script)
    assert answer.strip() == "401"


def test_pod_security_restricted_has_nothing_to_say_of_it(installed: Client) -> None:
    for deployment in ("spillover-ahpa", "spillover-ahpa-certificates"):
        text = installed.kubectl("get", f"deployment/{deployment}", "-n", NAMESPACE, "-o", "json")
        trial = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"trial-{deployment}", "namespace": NAMESPACE},
            "spec": json.loads(text)["spec"]["template"]["spec"],
        }
        installed.kubectl(
            "create", "--dry-run=server", "--warnings-as-errors", "-f", "-", stdin=json.dumps(trial)
        )


def test_what_it_needs(installed: Client) -> None:
    """Memory at rest is below the request."""
    pods = installed.items("pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/component=ahpa")
    for pod in pods:
        name = pod["metadata"]["name"]
        text = installed.kubectl(
            "exec", name, "-n", NAMESPACE, "--", "python", "-c",
            "print(open('/proc/1/status').read())",
        )  # fmt: skip
        (kib,) = (int(line.split()[1]) for line in text.splitlines() if line.startswith("VmRSS"))
        print(f"{name}: {kib / 1024:.0f} MiB of 192 MiB")
        assert kib < 192 * 1024
