"""The predictive autoscaler on a real cluster with a real Prometheus.

in a cluster                                  here
───────────────────────────────────────────   ─────────────────────────────────────────────────
a Service with an address                     a Service of type ExternalName, with the address
                                              of a relay: the API server dials that, and checks
                                              the certificate for the Service's name as ever
an exporter on each node                      one exporter, whose samples a test sets
"""

import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness.client import ClusterError
from harness.cluster import NAMESPACE, Cluster, Options, running
from harness.containers import Container
from harness.pki import Authority
from harness.places import ROOT
from harness.prometheus import Prometheus, backfill, serving

Object = dict[str, Any]

OVERLAY = ROOT / "manifests" / "overlays" / "ahpa"
API = ROOT / "manifests" / "overlays" / "ahpa-api"
API_SERVICE = "v1beta1.metrics.alibabacloud.com"
GPU = "DCGM_FI_DEV_GPU_UTIL"
REPLICAS = 2
_FIRST_NUMBER = 110
_RELAY_NUMBER, _EXPORTER_NUMBER, _PROMETHEUS_NUMBER = 120, 121, 122
_PORT = 9090
_HEALTH_PORT = 8447
_POLL_SECONDS = 0.2


class Exporter:
    """What Prometheus scrapes: values by metric, namespace and pod."""

    def __init__(self, address: str) -> None:
        self._values: dict[tuple[str, str, str], float] = {}
        self._turn = threading.Lock()
        exporter = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = exporter.text().encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002 - its name

        self._server = http.server.ThreadingHTTPServer((address, _PORT), Handler)
        self.target = f"{address}:{_PORT}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def set(self, namespace: str, values: Mapping[str, float], metric: str = GPU) -> None:
        """The values of these pods of the namespace, and of no others."""
        with self._turn:
            self._values = {
                key: value for key, value in self._values.items() if key[:2] != (metric, namespace)
            }
            for pod, value in values.items():
                self._values[metric, namespace, pod] = value

    def text(self) -> str:
        with self._turn:
            lines = [
                f'{metric}{{namespace="{namespace}",pod="{pod}"}} {value}'
                for (metric, namespace, pod), value in sorted(self._values.items())
            ]
        return "\n".join([*lines, ""])


@dataclass
class Site:
    """A cluster with the predictive autoscaler."""

    cluster: Cluster
    exporter: Exporter
    prometheus_address: str
    containers: list[Container]

    @contextmanager
    def prometheus(
        self, past: Sequence[str] = (), folder: str = "prometheus"
    ) -> Iterator[Prometheus]:
        """A Prometheus that scrapes the exporter, with these samples of the past as OpenMetrics."""
        where = self.cluster.folder / folder
        if past:
            backfill(where, past)
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
            "scrape_configs": [
                {
                    "job_name": "exporter",
                    "honor_labels": True,
                    "static_configs": [{"targets": [self.exporter.target]}],
                },
                {
                    "job_name": "ahpa",
                    "honor_labels": True,
                    "static_configs": [
                        {"targets": [f"{each.address}:{_HEALTH_PORT}" for each in self.containers]}
                    ],
                },
            ],
        }
        with serving(where, self.prometheus_address, config, self.cluster.folder) as found:
            yield found

    @contextmanager
    def nonsense(self, body: bytes) -> Iterator[None]:
        """In place of Prometheus, something that answers everything with `body`."""

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002 - its name

        address, _, port = self.prometheus_address.rpartition(":")
        server = http.server.ThreadingHTTPServer((address, int(port)), Handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def point_at(self, url: str) -> None:
        """Where the service finds Prometheus: by the vendor's ConfigMap."""
        self.cluster.apply(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "application-intelligence", "namespace": "kube-system"},
                "data": {"prometheusUrl": url},
            }
        )

    def leader(self) -> Container:
        holder = self.cluster.kubectl(
            "get", "lease", "spillover-ahpa", "-n", NAMESPACE, "-o",
            "jsonpath={.spec.holderIdentity}",
        )  # fmt: skip
        (found,) = (
            each
            for each in self.containers
            if holder.startswith((each.folder / "hostname").read_text().strip() + "_")
        )
        return found

    def get(self, namespace: str, name: str) -> Object:
        text = self.cluster.kubectl("get", "ahpa", name, "-n", namespace, "-o", "json")
        found: Object = json.loads(text)
        return found

    def until(self, condition: Callable[[], Any], seconds: float, what: str) -> Any:  # noqa: ANN401
        """What the condition returns when it holds. Errors of kubectl count as not yet."""
        deadline = time.monotonic() + seconds
        last: object = None
        while True:
            try:
                if found := condition():
                    return found
                last = found
            except ClusterError as error:
                last = error
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {seconds:.0f} s: {what}; last: {last}")
            time.sleep(_POLL_SECONDS)


@contextmanager
def site(
    name: str,
    folder: Path,
    *arguments: str,
    options: Callable[[tuple[str, ...]], Options] = lambda own: Options(api_server_arguments=own),
) -> Iterator[Site]:
    """A cluster with the overlay, in `folder` the front proxy's certificates. `arguments` are more
    ones of the service."""
    own = _front_proxy(folder)
    with running(Cluster(f"{name}-ahpa"), options(own)) as cluster, ExitStack() as stack:
        objects = list(yaml.safe_load_all(cluster.kubectl("kustomize", str(OVERLAY))))
        by_name = {
            (each["kind"], each["metadata"]["name"]): each
            for each in objects
            if each["kind"] in ("Deployment", "ConfigMap", "Service")
        }
        crds = [each for each in objects if each["kind"] == "CustomResourceDefinition"]
        cluster.apply(*crds)
        cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        cluster.apply(
            *(
                each
                for each in objects
                if each["kind"] not in ("CustomResourceDefinition", "Deployment", "Service")
            )
        )
        cluster.start(by_name["Deployment", "spillover-ahpa-certificates"], _FIRST_NUMBER)
        deployment = by_name["Deployment", "spillover-ahpa"]
        deployment["spec"]["template"]["spec"]["containers"][0]["args"] += arguments
        config_maps = {key[1]: each for key, each in by_name.items() if key[0] == "ConfigMap"}
        containers = [
            Container(
                cluster,
                cluster.start(deployment, _FIRST_NUMBER + 1 + number, config_maps, number),
                "ahpa",
            )
            for number in range(REPLICAS)
        ]
        _serve(cluster, by_name["Service", "spillover-ahpa"], containers)
        exporter = Exporter(_address(cluster, _EXPORTER_NUMBER))
        stack.callback(exporter.close)
        address = f"{_address(cluster, _PROMETHEUS_NUMBER)}:{_PORT}"
        found = Site(cluster, exporter, address, containers)
        found.point_at(f"http://{address}")
        cluster.kubectl("apply", "-k", str(API))
        cluster.kubectl(
            "wait", "--for=condition=Available", f"apiservice/{API_SERVICE}", "--timeout=60s"
        )
        yield found


def _address(cluster: Cluster, number: int) -> str:
    first = Container(cluster, "spillover-scheduler-0", "extender").address
    return f"{first.rpartition('.')[0]}.{number}"


def _serve(cluster: Cluster, service: Object, containers: Sequence[Container]) -> None:
    """The Service, as one with an external name."""
    targets = []
    for each in containers:
        pod = json.loads((each.folder / "pod.json").read_text())
        (container,) = pod["containers"]
        targets.append({"address": pod["address"], "port": 8446, "probe": container["probe"]})
    (port,) = service["spec"]["ports"]
    own = cluster.relay("spillover-ahpa", _RELAY_NUMBER, port["port"], targets)
    spec = {"type": "ExternalName", "externalName": own}
    cluster.apply({**service, "spec": spec})


def _front_proxy(folder: Path) -> tuple[str, ...]:
    """Certificates of a front proxy, and the API server's arguments for them."""
    authority = Authority.create("front-proxy-ca")
    client = authority.issue("front-proxy-client")
    files = {
        "front-proxy-ca.crt": authority.certificate,
        "front-proxy-client.crt": client.certificate,
        "front-proxy-client.key": client.key,
    }
    for name, content in files.items():
        (folder / name).touch(mode=0o600)
        (folder / name).write_bytes(content)
    return (
        f"requestheader-client-ca-file={folder / 'front-proxy-ca.crt'}",
        "requestheader-allowed-names=front-proxy-client",
        "requestheader-extra-headers-prefix=X-Remote-Extra-",
        "requestheader-group-headers=X-Remote-Group",
        "requestheader-username-headers=X-Remote-User",
        f"proxy-client-cert-file={folder / 'front-proxy-client.crt'}",
        f"proxy-client-key-file={folder / 'front-proxy-client.key'}",
    )
