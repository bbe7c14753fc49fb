"""What runs Pods on the node: containerd, kubelet and kube-proxy, and the images of Pods."""

import json
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import yaml

from harness import buildah
from harness.build import KUBERNETES, Programs
from harness.locks import exclusive
from harness.node.box import NODE_NAME
from harness.node.control import ControlPlane
from harness.node.host import CNI_PROGRAMS, search_path
from harness.places import cache

PODS = "10.88.0.0/16"
PAUSE = "registry.k8s.io/pause:3.10"
"""The image that workloads in the tests name, too."""

_DNS = "10.96.0.10"
"""Nobody serves there: nothing of Spillover asks for a name."""
_SOCKET = "/run/containerd/containerd.sock"


@dataclass(frozen=True)
class Runtime:
    """`folder` is the cluster's; `group` is the control group below which Pods run."""

    folder: Path
    address: str
    control: ControlPlane
    programs: Programs
    group: str

    def write_files(self) -> None:
        (self.folder / "cni").mkdir()
        self._write("cni/10-bridge.conflist", json.dumps(_network(self.folder / "cni-state")))
        self._write("containerd.toml", self._containerd())
        self._write("resolv.conf", "")
        self._write("kubelet.yaml", yaml.safe_dump(self._kubelet()))
        self._write("kube-proxy.yaml", yaml.safe_dump(self._kube_proxy()))

    def containerd(self) -> list[str]:
        return ["containerd", "--config", str(self.folder / "containerd.toml")]

    def commands(self) -> Iterable[tuple[str, list[str]]]:
        """By the process's name; containerd runs already."""
        yield "kubelet", [
            self.programs.binary("kubelet"), f"--config={self.folder / 'kubelet.yaml'}",
            f"--kubeconfig={self.control.kubeconfig('kubelet')}",
            f"--hostname-override={NODE_NAME}", f"--node-ip={self.address}",
            f"--root-dir={self.folder / 'kubelet'}",
            f"--cert-dir={self.folder / 'kubelet' / 'pki'}",
        ]  # fmt: skip
        yield "kube-proxy", [
            self.programs.binary("kube-proxy"), f"--config={self.folder / 'kube-proxy.yaml'}",
        ]  # fmt: skip

    def _write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def _containerd(self) -> str:
        return f"""version = 2
root = "{self.folder / "containerd"}"
state = "/run/containerd"
oom_score = 0
[grpc]
  address = "{_SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_PROGRAMS}"
    conf_dir = "{self.folder / "cni"}"
"""

    def _kubelet(self) -> dict[str, object]:
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "failCgroupV1": False,
            "failSwapOn": False,
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": self.group,
            "containerRuntimeEndpoint": f"unix://{_SOCKET}",
            "clusterDomain": "cluster.local",
            "clusterDNS": [_DNS],
            "resolvConf": str(self.folder / "resolv.conf"),
            "oomScoreAdj": 0,
            "imageMinimumGCAge": "24h",
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {"memory.available": "100Mi"},
            "tlsCertFile": self.control.pki("kubelet-server.crt"),
            "tlsPrivateKeyFile": self.control.pki("kubelet-server.key"),
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": self.control.pki("ca.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "podLogsDir": str(self.folder / "podlogs"),
            "volumePluginDir": str(self.folder / "kubelet-plugins"),
            # Images are loaded, never pulled: no credentials belong to them.
            "imagePullCredentialsVerificationPolicy": "NeverVerify",
        }

    def _kube_proxy(self) -> dict[str, object]:
        return {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "clientConnection": {"kubeconfig": str(self.control.kubeconfig("kube-proxy"))},
            "hostnameOverride": NODE_NAME,
            "clusterCIDR": PODS,
            "oomScoreAdj": 0,
            "conntrack": {
                "maxPerCore": 0,
                "min": 0,
                "tcpEstablishedTimeout": "0s",
                "tcpCloseWaitTimeout": "0s",
            },
            "healthzBindAddress": "127.0.0.1:10256",
            "metricsBindAddress": "127.0.0.1:10249",
        }


def ctr(*words: str) -> list[str]:
    """A command of containerd's client, about what the kubelet has there."""
    return ["ctr", f"--address={_SOCKET}", "--namespace=k8s.io", *words]


def images(control_plane: Programs) -> list[Path]:
    """Archives of the images that Pods start from, but for Spillover's own: kube-scheduler's under
    the name in manifests/, and a pause. Made if they are not there yet."""
    scheduler = f"registry.k8s.io/kube-scheduler:{KUBERNETES}"
    return [
        _of_one_program(
            scheduler,
            Path(control_plane.binary("kube-scheduler")),
            "usr/local/bin/kube-scheduler",
            ["--env=PATH=/usr/local/bin"],
        ),
        _of_one_program(PAUSE, _pause(), "pause", ['--entrypoint=["/pause", "-P"]']),
    ]


def _of_one_program(name: str, program: Path, path: str, settings: list[str]) -> Path:
    """An image with nothing but a program that needs nothing else."""
    content = program.read_bytes()
    summary = blake2b(" ".join((name, path, *settings)).encode() + content, digest_size=8)
    key = summary.hexdigest()
    file = cache() / "images" / f"{Path(path).name}-{key}.tar"
    with exclusive(cache() / "image.lock"):
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=file.parent) as place:
                target = Path(place) / "root" / path
                target.parent.mkdir(parents=True)
                target.write_bytes(content)
                target.chmod(0o755)
                archive = Path(place) / "root.tar"
                buildah.pack(Path(place) / "root", archive)
                tag = f"localhost/{Path(path).name}:{key}"
                buildah.make(tag, archive, settings=settings)
                buildah.export(tag, file, name)
    return file


def _pause() -> Path:
    for folder in search_path().split(":"):
        if (Path(folder) / "catatonit").exists():
            return Path(folder) / "catatonit"
    raise FileNotFoundError("catatonit")


def _network(state: Path) -> dict[str, object]:
    return {
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": True,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "dataDir": str(state),
                    "ranges": [[{"subnet": PODS}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            }
        ],
    }
