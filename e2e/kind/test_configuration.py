"""What can be checked of the kind tier without a container engine. The scenarios are e2e/node's."""

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from harness.build import kind_tools
from harness.kind import CONFIGURATION, node_image, obstacle
from harness.places import ROOT

WORKFLOW = ROOT / ".github" / "workflows" / "ci.yaml"


def create(configuration: Path, path: str) -> subprocess.CompletedProcess[str]:
    """kind reads a configuration, and then asks the engine in `path`."""
    return subprocess.run(
        [
            kind_tools().binary("kind"), "create", "cluster", "--name=never-made",
            f"--config={configuration}", "--kubeconfig=/dev/null",
        ],
        cwd=ROOT,
        env={"PATH": path, "HOME": os.environ["HOME"], "KIND_EXPERIMENTAL_PROVIDER": "docker"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )  # fmt: skip


@pytest.fixture
def engine(tmp_path: Path) -> tuple[str, Path]:
    """A docker that notes what it is asked and refuses it: no cluster can come of it."""
    asked = tmp_path / "asked"
    docker = tmp_path / "docker"
    docker.write_text(f'#!/bin/sh\necho "$@" >> {asked}\nexit 1\n')
    docker.chmod(0o755)
    return f"{tmp_path}:/usr/bin:/bin", asked


def test_kind_reads_the_configuration_and_then_asks_the_engine(engine: tuple[str, Path]) -> None:
    path, asked = engine
    ended = create(CONFIGURATION, path)
    assert ended.returncode != 0
    assert "unable to decode config" not in ended.stderr
    assert asked.read_text().startswith("info ")


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("kubeadmConfigPatches", "kubeadmPatches", "kubeadmPatches"),
        ("readOnly: true\n    kube", "readonly: yes please\n    kube", "readonly"),
        ("v1alpha4", "v9", "v9"),
    ],
)
def test_kind_finds_a_mistake_in_it(
    engine: tuple[str, Path], tmp_path: Path, before: str, after: str, words: str
) -> None:
    """Its own parser judges: so the test above can fail."""
    path, asked = engine
    text = CONFIGURATION.read_text()
    assert before in text
    (tmp_path / "bad.yaml").write_text(text.replace(before, after, 1))
    ended = create(tmp_path / "bad.yaml", path)
    assert ended.returncode != 0
    assert words in ended.stderr
    assert not asked.exists()


def test_what_the_configuration_mounts_is_there() -> None:
    (node,) = yaml.safe_load(CONFIGURATION.read_text())["nodes"]
    (mount,) = node["extraMounts"]
    assert (ROOT / mount["hostPath"]).is_file()
    (patch,) = node["kubeadmConfigPatches"]
    scheduler = yaml.safe_load(patch)["scheduler"]
    assert scheduler["extraArgs"] == [{"name": "config", "value": mount["containerPath"]}]
    (volume,) = scheduler["extraVolumes"]
    assert volume["hostPath"] == volume["mountPath"] == mount["containerPath"]


def test_actionlint_accepts_the_workflow() -> None:
    ended = subprocess.run(
        [kind_tools().binary("actionlint"), "-no-color", str(WORKFLOW)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout


def test_actionlint_finds_a_mistake(tmp_path: Path) -> None:
    bad = tmp_path / "ci.yaml"
    bad.write_text(WORKFLOW.read_text().replace("matrix.python }}", "matrix.pythom }}", 1))
    ended = subprocess.run(
        [kind_tools().binary("actionlint"), "-no-color", str(bad)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert "pythom" in ended.stdout


def test_what_is_missing_here_is_said() -> None:
    """Where there is an engine, `./dev test kind` runs the scenarios."""
    reason = obstacle()
    assert reason is None or reason.startswith("kind needs Docker")


def test_the_node_image_is_that_of_the_release() -> None:
    """kind knows the digest of the image that it was released with."""
    binary = Path(kind_tools().binary("kind")).read_bytes()
    assert node_image().encode() in binary
