"""./dev up --real-node as a person uses it, and what is left on the machine afterwards: nothing."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import processes
from harness.node import host
from harness.node.cluster import NodeCluster
from harness.places import ROOT, clusters

_SETTINGS = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops")


def run(*arguments: str) -> tuple[int, str, str]:
    environment = {name: value for name, value in os.environ.items() if name[:6] != "PYTHON"}
    ended = subprocess.run(
        [str(ROOT / "dev"), *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    return ended.returncode, ended.stdout, ended.stderr


def machine(name: str) -> dict[str, object]:
    """What a node could leave behind or change."""
    links = subprocess.run(
        ["ip", "-o", "link"],  # noqa: S607 - any
        env={"PATH": host.search_path()},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return {
        "links": sorted(re.findall(r"^\d+: (spill\w*)", links.stdout, re.MULTILINE)),
        "groups": sorted(str(each) for each in Path("/sys/fs/cgroup").glob(f"**/*{name}*")),
        "settings": {name: Path("/proc/sys", name).read_text() for name in _SETTINGS},
        "mounts": sorted(
            line.split()[4]
            for line in Path("/proc/self/mountinfo").read_text().splitlines()
            if str(clusters() / name) in line
        ),
    }


@pytest.fixture
def name(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.config.getoption("--containers") == "kind":
        pytest.skip("kind has a launcher of its own")
    if reason := host.obstacle():
        pytest.skip(reason)
    name = f"launched-{os.getpid()}"
    yield name
    NodeCluster(name).down()


@pytest.mark.timeout(900)
def test_up_and_down_leave_nothing(name: str) -> None:
    before = machine(name)
    status, out, err = run("up", "--real-node", "--name", name,
                           "--nodes", str(ROOT / "e2e" / "demo" / "nodes.yaml"))  # fmt: skip
    assert status == 0, err
    assert out.splitlines()[-1] == f"KUBECONFIG={clusters() / name / 'kubeconfig'}"
    assert machine(name)["settings"] == before["settings"]
    _, out, _ = run("kubectl", "--name", name, "get", "nodes", "-o", "name")
    assert len(out.splitlines()) == 6
    _, out, _ = run("kubectl", "--name", name, "get", "pods", "-n", "spillover-system")
    assert len(re.findall(r" Running ", out)) == 5, out
    _, out, _ = run("status")
    assert f"{name}: " in out
    status, out, _ = run("logs", "--name", name, "extender")
    assert (status, '"level"' in out) == (0, True)
    status, _, err = run("logs", "--name", name, "nobody")
    assert status == 1
    assert "kubelet" in err
    status, _, err = run("down", "--name", name)
    assert status == 0, err
    assert machine(name) == before
    assert processes.find(clusters() / name) == []
    assert not (clusters() / name).exists()
