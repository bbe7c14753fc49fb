"""Who is answered where the API server shows a client certificate: nobody else."""

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from harness.cluster import Cluster, Options, running
from harness.containers import Container
from harness.pki import Authority

API_SERVER = "kube-apiserver"
_PLUGINS = ("MutatingAdmissionWebhook", "ValidatingAdmissionWebhook")


@pytest.fixture
def clients(tmp_path: Path) -> Path:
    """A folder with the certificates of the API server and of somebody else."""
    authority = Authority.create("clients")
    (tmp_path / "ca.crt").write_bytes(authority.certificate)
    for name in (API_SERVER, "other"):
        pair = authority.issue(name)
        (tmp_path / f"{name}.crt").write_bytes(pair.certificate)
        (tmp_path / f"{name}.key").write_bytes(pair.key)
    user = {
        "client-certificate": str(tmp_path / f"{API_SERVER}.crt"),
        "client-key": str(tmp_path / f"{API_SERVER}.key"),
    }
    kubeconfig = tmp_path / "webhooks.kubeconfig"
    kubeconfig.write_text(
        yaml.safe_dump(
            {"apiVersion": "v1", "kind": "Config", "users": [{"name": "*", "user": user}]}
        )
    )
    webhooks = {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "WebhookAdmissionConfiguration",
        "kubeConfigFile": str(kubeconfig),
    }
    (tmp_path / "admission.yaml").write_text(
        yaml.safe_dump(
            {
                "apiVersion": "apiserver.config.k8s.io/v1",
                "kind": "AdmissionConfiguration",
                "plugins": [{"name": each, "configuration": webhooks} for each in _PLUGINS],
            }
        )
    )
    return tmp_path


@pytest.fixture
def closed(cluster_name: str, clients: Path) -> Iterator[Cluster]:
    """Started only once the API server's reviews are answered."""
    options = Options(
        webhook_arguments=(
            f"--client-ca-file={clients / 'ca.crt'}", f"--client-names={API_SERVER}"
        ),
        api_server_arguments=(f"admission-control-config-file={clients / 'admission.yaml'}",),
    )  # fmt: skip
    with running(Cluster(f"{cluster_name}-closed"), options) as cluster:
        yield cluster


def test_the_api_server_is_answered_and_nobody_else(closed: Cluster, clients: Path) -> None:
    address = Container(closed, "spillover-webhook-0", "webhook").address
    review = {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {"uid": "x", "namespace": "default", "operation": "CREATE",
                    "kind": {"group": "", "version": "v1", "kind": "Pod"}, "object": {}},
    }  # fmt: skip

    def ask(client: str) -> int:
        context = ssl._create_unverified_context()  # noqa: S323, SLF001 - who is asked is known
        if client:
            context.load_cert_chain(clients / f"{client}.crt", clients / f"{client}.key")
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        request = urllib.request.Request(
            f"https://{address}:8443/mutate/pods", data=json.dumps(review).encode()
        )
        try:
            with opener.open(request, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except (urllib.error.URLError, ssl.SSLError, ConnectionError):
            return 0

    assert ask(API_SERVER) == 200
    assert ask("other") == 403
    assert ask("") == 0
