"""./dev as a person uses it: another process, its output, and what it leaves behind."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.cluster import Cluster, Options, running
from harness.places import ROOT, clusters

NODES = ROOT / "e2e" / "demo" / "nodes.yaml"


def dev(*arguments: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if name[:6] != "PYTHON"}
    return subprocess.Popen(
        [str(ROOT / "dev"), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd="/",
    )


def run(*arguments: str) -> tuple[int, str, str]:
    with dev(*arguments) as process:
        out, err = process.communicate(timeout=180)
    return process.returncode, out, err


def processes_of(name: str) -> list[str]:
    """Command lines that name the cluster's folder, found without the harness's own mark."""
    folder = str(clusters() / name)
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # ended meanwhile
            continue
        if folder in command:
            found.append(command)
    return found


@pytest.fixture
def name() -> Iterator[str]:
    """Of a cluster that the launcher makes. Tests have their own prefix, which it refuses."""
    name = f"launched-{os.getpid()}"
    yield name
    Cluster(name).down()


def test_demo_shows_the_main_job_as_plain_text() -> None:
    status, out, err = run("demo")
    assert status == 0, err
    steps = out.split("$ kubectl scale deployment inference --replicas=")[1:]
    assert [step.split()[0] for step in steps] == ["3", "6", "8", "3"]
    for step, filled in zip(steps, ("2100", "2220", "2222", "2100"), strict=True):
        pods = re.findall(r"(?:prepaid|node|go|waiting) +(?:2 GPUs|max 2)? +(\d)\b", step)
        assert "".join(pods) == filled, step
    assert "why: 0/5 nodes are available: 1 eci is at its max of 2" in steps[2]
    assert "\x1b" not in out
    assert not Cluster("demo").exists()
    assert processes_of("demo") == []


def test_the_demo_of_federation_fills_three_members() -> None:
    status, out, err = run("demo", "federation")
    assert status == 0, err
    steps = out.split("$ kubectl scale deployment gpu-demo --replicas=")[1:]
    row = re.compile(
        r"^ *(?:vke-poc1|vke-poc2|ack-poc) +(\d+)[ ■]+(\d+)[ ■]+(\d+)[ ■]+of \d+ +(\d+)",
        re.MULTILINE,
    )
    found = [
        (step.split()[0], " ".join("".join(each) for each in row.findall(step))) for step in steps
    ]
    assert found == [
        ("10", "2200 2200 2000"), ("15", "2220 2220 2100"), ("20", "2222 2222 2240"),
        ("20", "2420 2420 2200"), ("10", "2200 2200 2000"),
    ]  # fmt: skip
    assert "why: 0/5 nodes are available: 1 eci is at its max of 2" in steps[2]
    assert [each for each in clusters().glob("demo-*") if each.is_dir()] == []


def test_the_demo_of_predictive_autoscaling_is_ahead_of_its_load() -> None:
    status, out, err = run("demo", "ahpa")
    assert status == 0, err
    rows = {
        title: (float(late), int(most))
        for title, late, most in re.findall(
            r"^ *(forecast and load|load only, as an HPA) +([0-9]+) s +([0-9]+)", out, re.MULTILINE
        )
    }
    ahead, behind = rows["forecast and load"], rows["load only, as an HPA"]
    assert ahead[0] < behind[0], "the load was too high for a shorter time"
    (path,) = re.findall(r"The chart is in (\S+)", out)
    assert "Predict GPU Resource Observer" in Path(path).read_text()
    assert [each for each in clusters().glob("demo-*") if each.is_dir()] == []


def test_up_and_down(name: str) -> None:
    status, out, err = run("up", "--name", name, "--nodes", str(NODES))
    assert status == 0, err
    assert out.splitlines()[-1] == f"KUBECONFIG={clusters() / name / 'kubeconfig'}"
    status, out, _ = run("kubectl", "--name", name, "get", "nodes", "-o", "name")
    assert len(out.splitlines()) == 5
    _, out, _ = run("status")
    assert f"{name}: " in out
    status, out, _ = run("logs", "--name", name, "kube-apiserver")
    assert status == 0
    assert out
    status, _, err = run("up", "--name", name)
    assert (status, "is there already" in err) == (1, True)
    assert processes_of(name)  # the second start has not touched the first
    status, _, _ = run("down", "--name", name)
    assert status == 0
    assert processes_of(name) == []
    _, _, err = run("down", "--name", name)
    assert "there was no cluster" in err


def test_of_two_starts_of_one_name_one_wins(name: str) -> None:
    both = [dev("up", "--name", name) for _ in range(2)]
    answers = []
    for process in both:
        with process:
            answers.append((process.communicate(timeout=180), process.returncode))
    assert sorted(status for _, status in answers) == [0, 1]
    status, out, err = run("kubectl", "--name", name, "get", "--raw", "/readyz")
    assert (status, out) == (0, "ok"), err


@pytest.mark.parametrize("moment", ["kwokctl.yaml", "pods/spillover-scheduler-0/pod.json"])
def test_down_ends_what_a_killed_start_has_left(name: str, moment: str) -> None:
    with dev("up", "--name", name) as process:
        deadline = time.monotonic() + 90
        while not (clusters() / name / moment).exists():
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
        process.communicate(timeout=30)
    status, _, err = run("down", "--name", name)
    assert status == 0, err
    assert processes_of(name) == []
    assert not Cluster(name).exists()


def test_a_start_that_is_interrupted_cleans_up(name: str) -> None:
    """By SIGTERM: SIGINT is ignored by all that a shell starts in the background."""
    with dev("up", "--name", name) as process:
        deadline = time.monotonic() + 90
        while not (clusters() / name / "pods").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert processes_of(name) == []
    assert not Cluster(name).exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["up", "--name", "Bad_Name"], "--name: lower-case letters"),
        (["up", "--name", "test-1"], "are for the tests"),
        (["up", "--scheduler-replicas", "0"], "--scheduler-replicas: a number from 1 to 9"),
        (["up", "--nodes", "/nowhere"], "--nodes: no file /nowhere"),
        (["up", "--nodes", str(ROOT / "e2e" / "demo" / "policy.yaml")], "only Node is wanted"),
        (["kubectl", "--name", "nobody", "get", "pods"], "no cluster nobody"),
        (["fly"], "invalid choice: 'fly'"),
    ],
)
def test_bad_arguments_are_named(arguments: list[str], words: str) -> None:
    status, _, err = run(*arguments)
    assert status in (1, 2)
    assert words in err


def test_a_killed_replica_starts_again(cluster_name: str) -> None:
    """The stand-in for the kubelet restarts a container that ends."""
    with running(Cluster(f"{cluster_name}-killed"), Options()) as cluster:
        file = cluster.pod_folder("spillover-scheduler-0") / "extender.pid"
        first = int(file.read_text())
        os.kill(first, signal.SIGKILL)
        deadline = time.monotonic() + 30
        while int(file.read_text() or first) == first:
            assert time.monotonic() < deadline
            time.sleep(0.05)
