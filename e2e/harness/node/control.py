"""The control plane of a cluster with a real node: certificates, kubeconfigs and commands."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml

from harness.build import Programs
from harness.node.box import NODE_NAME
from harness.pki import Authority, Extensions, account_keys

API_PORT = 6443
SERVICES = "10.96.0.0/16"
_FIRST_SERVICE = "10.96.0.1"
_ETCD = "http://127.0.0.1:2379"

_AUTHORITY = Extensions(key_usage=False, identifiers=False)
"""The least that kubelet and kube-scheduler accept: components must not ask for more."""

_CLIENTS = {
    "admin": ("admin", "system:masters"),
    "kubelet": (f"system:node:{NODE_NAME}", "system:nodes"),
    "kube-controller-manager": ("system:kube-controller-manager", ""),
    "kube-scheduler": ("system:kube-scheduler", ""),
    "kube-proxy": ("system:kube-proxy", ""),
    "kwok": ("kwok", "system:masters"),
    "front-proxy": ("front-proxy-client", ""),
}
SCHEDULER_CONFIGURATION = Path(__file__).parents[2] / "node" / "scheduler-config.yaml"
KWOK_ARGUMENTS = (
    "--manage-all-nodes=false",
    "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
    "--node-lease-duration-seconds=40",
)
KWOK_STAGES = Path(__file__).parents[2] / "node" / "kwok-stages.yaml"


@dataclass(frozen=True)
class ControlPlane:
    """`folder` is the cluster's, `address` the node's."""

    folder: Path
    address: str
    programs: Programs

    @property
    def server(self) -> str:
        return f"https://{self.address}:{API_PORT}"

    def write_files(self) -> None:
        """Certificates, and one kubeconfig a client."""
        self._pki.mkdir()
        authority = Authority.create("kubernetes-ca", _AUTHORITY)
        self._write("ca.crt", authority.certificate)
        names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"]
        names += ["127.0.0.1", self.address, _FIRST_SERVICE]
        pairs = {"apiserver": authority.issue("kube-apiserver", names=names)}
        pairs["kubelet-server"] = authority.issue(NODE_NAME, names=[NODE_NAME, self.address])
        for name, (common, organization) in _CLIENTS.items():
            pairs[name] = authority.issue(common, organization=organization)
        for name, pair in pairs.items():
            self._write(f"{name}.crt", pair.certificate)
            self._write(f"{name}.key", pair.key)
        keys = account_keys()
        self._write("accounts.pub", keys.certificate)
        self._write("accounts.key", keys.key)
        for name in _CLIENTS:
            file = self.kubeconfig(name)
            file.touch(mode=0o600)
            file.write_text(yaml.safe_dump(self._kubeconfig(name)))

    def kubeconfig(self, client: str) -> Path:
        return self._pki / f"{client}.kubeconfig"

    def pki(self, name: str) -> str:
        return str(self._pki / name)

    def commands(self) -> Iterable[tuple[str, list[str]]]:
        """By the process's name, in the order in which they start."""
        yield "etcd", [
            self.programs.binary("etcd"), f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={_ETCD}", f"--advertise-client-urls={_ETCD}",
            "--listen-peer-urls=http://127.0.0.1:2380", "--unsafe-no-fsync",
        ]  # fmt: skip
        yield "kube-apiserver", [
            self.programs.binary("kube-apiserver"),
            f"--etcd-servers={_ETCD}", f"--secure-port={API_PORT}", "--bind-address=0.0.0.0",
            f"--advertise-address={self.address}",
            f"--tls-cert-file={self.pki('apiserver.crt')}",
            f"--tls-private-key-file={self.pki('apiserver.key')}",
            f"--client-ca-file={self.pki('ca.crt')}",
            f"--requestheader-client-ca-file={self.pki('ca.crt')}",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-username-headers=X-Remote-User",
            f"--proxy-client-cert-file={self.pki('front-proxy.crt')}",
            f"--proxy-client-key-file={self.pki('front-proxy.key')}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self.pki('accounts.pub')}",
            f"--service-account-signing-key-file={self.pki('accounts.key')}",
            "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
            f"--service-cluster-ip-range={SERVICES}",
            f"--kubelet-client-certificate={self.pki('admin.crt')}",
            f"--kubelet-client-key={self.pki('admin.key')}",
            f"--kubelet-certificate-authority={self.pki('ca.crt')}",
            "--kubelet-preferred-address-types=InternalIP",
        ]  # fmt: skip
        yield "kube-controller-manager", [
            self.programs.binary("kube-controller-manager"),
            f"--kubeconfig={self.kubeconfig('kube-controller-manager')}",
            f"--service-account-private-key-file={self.pki('accounts.key')}",
            f"--root-ca-file={self.pki('ca.crt')}",
            "--use-service-account-credentials", "--leader-elect=false",
        ]  # fmt: skip
        scheduler = self.kubeconfig("kube-scheduler")
        yield "kube-scheduler", [
            self.programs.binary("kube-scheduler"), f"--config={self._scheduler_configuration()}",
            f"--authentication-kubeconfig={scheduler}", f"--authorization-kubeconfig={scheduler}",
        ]  # fmt: skip
        yield "kwok", [
            self.programs.binary("kwok"), f"--kubeconfig={self.kubeconfig('kwok')}",
            f"--config={KWOK_STAGES}", *KWOK_ARGUMENTS,
        ]  # fmt: skip

    def _scheduler_configuration(self) -> Path:
        """Of the cluster's own scheduler, which places Spillover's Pods."""
        file = self.folder / "scheduler-config.yaml"
        config = yaml.safe_load(SCHEDULER_CONFIGURATION.read_text())
        config["clientConnection"] = {"kubeconfig": str(self.kubeconfig("kube-scheduler"))}
        file.write_text(yaml.safe_dump(config))
        return file

    @property
    def _pki(self) -> Path:
        return self.folder / "pki"

    def _write(self, name: str, content: bytes) -> None:
        file = self._pki / name
        file.touch(mode=0o600)
        file.write_bytes(content)

    def _kubeconfig(self, name: str) -> dict[str, object]:
        cluster = {"server": self.server, "certificate-authority": self.pki("ca.crt")}
        pair = {
            "client-certificate": self.pki(f"{name}.crt"),
            "client-key": self.pki(f"{name}.key"),
        }
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "it", "cluster": cluster}],
            "users": [{"name": name, "user": pair}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": name}}],
            "current-context": "it",
        }
