"""What ./dev can do."""

import argparse
import itertools
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import yaml

from harness import build, catalogue, image, image_python, install, processes
from harness.client import ClusterError, environment
from harness.cluster import Cluster, Options
from harness.local import LocalCluster
from harness.node.cluster import NodeCluster
from harness.places import ROOT, TEST_PREFIX

_TIERS = {
    "unit": "tests/unit",
    "property": "tests/property",
    "contract": "tests/contract",
    "counted": "tests/counted",
    "cluster": "tests/cluster",
    "e2e": "e2e",
    "faults": "e2e/faults",
    "node": "e2e/node",
    "kind": "e2e/kind",
}


_WITHOUT_CLUSTER = {"tests/unit", "tests/property", "tests/contract", "tests/counted"}

_SCALED = ("scheduler", "webhook")
"""Components whose number of replicas is a matter of choice."""


def main(arguments: list[str]) -> int:
    """Runs one command. Returns the exit status."""
    options, rest = _parser().parse_known_args(arguments)
    if rest and options.command not in ("test", "kubectl", "explain", "bench"):
        _parser().error(f"unrecognized arguments: {' '.join(rest)}")
    run: Callable[[argparse.Namespace, list[str]], int] = options.run
    signal.signal(signal.SIGTERM, _interrupt)  # like Ctrl-C: what is half done is undone
    try:
        return run(options, rest)
    except (ClusterError, TimeoutError, subprocess.TimeoutExpired) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./dev", description="Build, run and test Spillover.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(
        name: str, run: Callable[[argparse.Namespace, list[str]], int], text: str
    ) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        return command

    def add_name(command: argparse.ArgumentParser) -> None:
        command.add_argument("--name", default="dev", type=_cluster_name, help="the cluster's name")

    demo = add("demo", _demo, "the main job, live: units fill in order and empty in reverse")
    demo.add_argument(
        "scene",
        nargs="?",
        choices=["single", "federation", "ahpa"],
        default="single",
        help="one cluster, three members of a KubeAdmiral fleet, or predictive autoscaling; "
        "default: %(default)s",
    )
    demo.add_argument("--keep", action="store_true", help="leave the one cluster running")
    dashboard = add("dashboard", _dashboard, "the Grafana dashboard, drawn from a demo's data")
    dashboard.add_argument(
        "--output", type=Path, metavar="FILE", help="the picture (docs/dashboard.png)"
    )
    up = add("up", _up, "start a cluster with every component of Spillover")
    add_name(up)
    up.add_argument("--nodes", type=_readable, metavar="FILE", help="YAML of nodes to create")
    for component in _SCALED:
        up.add_argument(
            f"--{component}-replicas",
            type=_positive,
            metavar="N",
            help="default: 1; with --real-node, the number in manifests/",
        )
    up.add_argument(
        "--real-node",
        action="store_true",
        help="Pods from the image on a real kubelet, beside simulated nodes; needs root",
    )
    add_name(add("down", _down, "end a cluster and remove all it has left"))
    add("status", _status, "the clusters and their processes")
    logs = add("logs", _logs, "print the log of a component, of all its replicas")
    add_name(logs)
    logs.add_argument("component", metavar="COMPONENT", help="such as extender or etcd")
    kubectl = add("kubectl", _kubectl, "kubectl on a cluster: ./dev kubectl [--name NAME] ARGS…")
    add_name(kubectl)
    kubectl.add_argument("arguments", nargs=argparse.REMAINDER, metavar="ARGS")
    explain = add("explain", _explain, "spillover explain on a cluster: ./dev explain pod NAME …")
    add_name(explain)
    explain.add_argument("arguments", nargs=argparse.REMAINDER, metavar="ARGS")
    made = add("image", _image, "build the image with docker, podman or buildah; print its id")
    made.add_argument("--tag", default=image.default_tag(), metavar="NAME")
    made.add_argument(
        "--base",
        default=os.environ.get("SPILLOVER_IMAGE_BASE", ""),
        metavar="IMAGE",
        help="the base image, instead of the one in the Dockerfile ($SPILLOVER_IMAGE_BASE); "
        f"'{image.STAND_IN}' makes one of Debian's packages, where no registry is reached",
    )
    test = add("test", _test, "run the tests: ./dev test [--long] [TIER or pytest arguments]")
    test.add_argument("--long", action="store_true", help="with the full counts, for a note")
    test.add_argument(
        "--image-python",
        action="store_true",
        help="on the image's Python, in a root file system of Debian's packages; needs root",
    )
    test.add_argument("arguments", nargs=argparse.REMAINDER, metavar="TIER or ARGS")
    add("lint", _lint, "ruff, mypy and import-linter")
    add("generate", _generate, "write the CRDs from spillover/api")
    add("build", _build, "build all programs that the tests need (others do when they are missing)")
    bench = add(
        "bench", _bench, "benchmarks: ./dev bench [NAME [its arguments]]; all without a name"
    )
    names = [file.stem for file in _benchmarks()]
    bench.add_argument("benchmark", nargs="?", choices=names, metavar="NAME", help=", ".join(names))
    bench.add_argument("arguments", nargs=argparse.REMAINDER, metavar="ARGS")
    return parser


def _demo(options: argparse.Namespace, _: list[str]) -> int:
    if options.scene == "federation":
        from federation.demo import demo as federation  # noqa: PLC0415 - rich is slow to import

        return federation()
    if options.scene == "ahpa":
        from ahpa.demo import demo as ahpa  # noqa: PLC0415 - likewise

        return ahpa()
    from harness.demo import demo  # noqa: PLC0415 - see above

    return demo(keep=options.keep)


def _dashboard(options: argparse.Namespace, _: list[str]) -> int:
    from harness.dashboard import PICTURE, dashboard  # noqa: PLC0415 - so is matplotlib

    return dashboard(options.output or PICTURE)


def _up(options: argparse.Namespace, _: list[str]) -> int:
    nodes = _nodes(options.nodes) if options.nodes else []
    cluster = (_started_with_node if options.real_node else _started)(options)
    try:
        cluster.add_nodes(*nodes)
    except BaseException:
        cluster.down()
        raise
    print(f"KUBECONFIG={cluster.kubeconfig}", flush=True)
    return 0


def _started(options: argparse.Namespace) -> LocalCluster:
    cluster = Cluster(options.name)
    cluster.up(Options(options.scheduler_replicas or 1, options.webhook_replicas or 1), _say)
    return cluster


def _started_with_node(options: argparse.Namespace) -> LocalCluster:
    cluster = NodeCluster(options.name)
    cluster.up(_say)
    try:
        _say("building the image")
        image.build_here(image.default_tag())
        cluster.load(image.exported(image.default_tag()))
        _say("applying manifests/")
        install.apply(cluster)
        for component in _SCALED:
            if replicas := getattr(options, f"{component}_replicas"):
                install.scale(cluster, component, replicas)
        _say("waiting for the Pods to be ready")
        install.wait_ready(cluster)
    except BaseException:
        cluster.keep_logs()
        cluster.down()
        raise
    return cluster


def _nodes(file: Path) -> list[dict[str, Any]]:
    """The nodes in a YAML file. Raises ClusterError for anything else."""
    try:
        documents = [document for document in yaml.safe_load_all(file.read_text()) if document]
    except yaml.YAMLError as error:
        raise ClusterError(f"{file}: not YAML: {error}") from error
    objects = [each for document in documents for each in document.get("items", [document])]
    for each in objects:
        if each.get("kind") != "Node":
            raise ClusterError(f"{file}: kind: only Node is wanted here, not {each.get('kind')}")
    return objects


def _image(options: argparse.Namespace, _: list[str]) -> int:
    print(image.build(options.tag, options.base))
    return 0


def _down(options: argparse.Namespace, _: list[str]) -> int:
    cluster = catalogue.cluster(options.name)
    there = cluster.exists()
    cluster.down()  # also without a folder: a crash may have left processes
    if not there:
        print(f"there was no cluster {options.name}", file=sys.stderr)
    return 0


def _status(_: argparse.Namespace, __: list[str]) -> int:
    for cluster in catalogue.all_clusters():
        running = len(processes.find(cluster.folder))
        print(f"{cluster.name}: {running} processes, KUBECONFIG={cluster.kubeconfig}")
    return 0


def _logs(options: argparse.Namespace, _: list[str]) -> int:
    cluster = _existing(options.name)
    files = list(cluster.logs(options.component))
    if not files:
        known = ", ".join(cluster.components())
        raise ClusterError(f"no component {options.component}; there are {known}")
    for file in files:
        sys.stdout.write(file.read_text(errors="replace"))
    return 0


def _kubectl(options: argparse.Namespace, rest: list[str]) -> int:
    command = [*_existing(options.name).kubectl_command(), *rest, *options.arguments]
    return subprocess.run(command, env=environment(), check=False).returncode


def _explain(options: argparse.Namespace, rest: list[str]) -> int:
    cluster = _existing(options.name)
    command = [str(Path(sys.executable).with_name("spillover")), "explain"]
    command += [*rest, *options.arguments, f"--kubeconfig={cluster.kubeconfig}"]
    return subprocess.run(command, check=False).returncode


def _test(options: argparse.Namespace, rest: list[str]) -> int:
    chosen = [*rest, *options.arguments]
    if options.image_python:
        build.built(*build.ALL)
        return image_python.run(["test", *(["--long"] if options.long else []), *chosen])
    return _run_pytest(options, chosen)


def _places(names: list[str]) -> list[str]:
    """What pytest takes for tiers."""
    if "kind" not in names:
        return [_TIERS[name] for name in names]
    if "node" in names:
        raise ClusterError("the tiers node and kind run the same scenarios: one at a time")
    return [*(_TIERS[name] for name in names), _TIERS["node"], "--containers=kind"]


def _run_pytest(options: argparse.Namespace, chosen: list[str]) -> NoReturn:
    if chosen and chosen[0] in _TIERS:
        names = list(itertools.takewhile(_TIERS.__contains__, chosen))
        chosen = [*_places(names), *chosen[len(names) :]]
    if not chosen or not set(chosen) & _WITHOUT_CLUSTER:
        # Here and not in a fixture: it takes minutes, and says how far it is.
        build.built(*build.ALL)
    command = [sys.executable, "-m", "pytest", *(["--long"] if options.long else []), *chosen]
    os.chdir(ROOT)
    # In our place, so that Ctrl-C reaches it alone and it has the time to take its clusters down.
    os.execv(sys.executable, command)


def _lint(_: argparse.Namespace, __: list[str]) -> int:
    tools = Path(sys.executable).parent
    checks = [["ruff", "check"], ["ruff", "format", "--check"], ["mypy"], ["lint-imports"]]
    # These read the checkout, not the installed wheel.
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'e2e'}"}
    results = [
        subprocess.run([tools / name, *rest], cwd=ROOT, env=environment, check=False)
        for name, *rest in checks
    ]
    return int(any(result.returncode for result in results))


def _generate(_: argparse.Namespace, __: list[str]) -> int:
    return subprocess.run(
        [sys.executable, ROOT / "manifests" / "generate.py"], check=False
    ).returncode


def _build(_: argparse.Namespace, __: list[str]) -> int:
    for programs in build.built(*build.ALL):
        print(programs.folder)
    return 0


def _bench(options: argparse.Namespace, rest: list[str]) -> int:
    wanted = [each for each in _benchmarks() if options.benchmark in (None, each.stem)]
    arguments = [*rest, *options.arguments]
    results = [subprocess.run([sys.executable, file, *arguments], check=False) for file in wanted]
    return int(any(result.returncode for result in results))


def _benchmarks() -> list[Path]:
    return sorted((ROOT / "bench").glob("*.py"))


def _existing(name: str) -> LocalCluster:
    cluster = catalogue.cluster(name)
    if not cluster.exists():
        raise ClusterError(f"no cluster {name}; ./dev up --name {name}")
    return cluster


def _readable(text: str) -> Path:
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"no file {text}")
    return Path(text)


def _cluster_name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?", text):
        raise argparse.ArgumentTypeError("lower-case letters, digits and '-', at most 40")
    if text.startswith(TEST_PREFIX):
        raise argparse.ArgumentTypeError(f"names that begin with {TEST_PREFIX} are for the tests")
    return text


def _positive(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 9:
        raise argparse.ArgumentTypeError("a number from 1 to 9")
    return int(text)


def _say(text: str) -> None:
    print(f"==> {text}", file=sys.stderr, flush=True)
