"""Building programs: resumable, and once even when two start at once. A stand-in for Go writes what
a build would and notes that it was asked."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from harness import build
from harness.places import ROOT

FAKE_GO = """#!{python}
import os, pathlib, sys, time
target = sys.argv[sys.argv.index("-o") + 1]
with open(os.environ["ASKED"], "a") as asked:
    tags = sys.argv[sys.argv.index("-tags") + 1] + " " if "-tags" in sys.argv else ""
    asked.write(tags + sys.argv[-1] + "\\n")
print("some/package", file=sys.stderr)
time.sleep(0.05)
if sys.argv[-1].endswith(os.environ.get("BREAKS", "none")):
    print("it does not compile", file=sys.stderr)
    sys.exit(1)
pathlib.Path(target).write_text("binary of " + sys.argv[-1])
"""
RUN = """
import sys
from pathlib import Path
from harness import build
build._go = lambda: Path(sys.argv[1])
print(getattr(build, sys.argv[2])().folder)
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    go = tmp_path / "go"
    go.write_text(FAKE_GO.format(python=sys.executable))
    go.chmod(0o755)
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT / "e2e"),
        "XDG_CACHE_HOME": str(tmp_path / "a cache"),
        "ASKED": str(tmp_path / "asked"),
        "GO": str(go),
    }


def start(environment: dict[str, str], what: str = "control_plane") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", RUN, environment["GO"], what],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def asked(environment: dict[str, str]) -> list[str]:
    return Path(environment["ASKED"]).read_text().splitlines()


def test_two_at_once_build_once(environment: dict[str, str]) -> None:
    both = [start(environment), start(environment)]
    outputs = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert asked(environment) == list(build.CONTROL_PLANE.packages.values())
    assert outputs[0][0] == outputs[1][0]
    assert sum("another build is under way" in err for _, err in outputs) == 1
    folder = Path(outputs[0][0].strip())
    assert {file.name for file in folder.iterdir()} == set(build.CONTROL_PLANE.packages)
    assert (folder / "etcd").read_text() == "binary of go.etcd.io/etcd/server/v3"
    assert not (Path(environment["XDG_CACHE_HOME"]) / "spillover" / "go-build").exists()


def test_a_build_that_broke_off_goes_on_where_it_stopped(environment: dict[str, str]) -> None:
    broken = start({**environment, "BREAKS": "kubectl"})
    _, err = broken.communicate(timeout=60)
    assert broken.returncode == 1
    assert "it does not compile" in err
    before = asked(environment)
    again = start(environment)
    _, err = again.communicate(timeout=60)
    assert again.returncode == 0, err
    packages = list(build.CONTROL_PLANE.packages.values())
    assert asked(environment)[len(before) :] == packages[len(before) - 1 :]


def test_prometheus_has_a_folder_of_its_own_and_leaves_the_other_alone(
    environment: dict[str, str],
) -> None:
    folders = []
    for what in ("control_plane", "monitoring", "control_plane", "monitoring"):
        process = start(environment, what)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        folders.append(Path(out.strip()))
    assert folders[:2] == folders[2:]
    assert [folder.parent.name for folder in folders[:2]] == ["control-plane", "prometheus"]
    programs = build.MONITORING.packages.values()
    # Each once, and Prometheus with its tag.
    assert asked(environment) == [
        *build.CONTROL_PLANE.packages.values(),
        *(f"remove_all_sd {package}" for package in programs),
    ]


def test_what_programs_are_made_of_names_their_folder(tmp_path: Path) -> None:
    (tmp_path / "go.mod").write_text("module one")
    (tmp_path / "go.sum").write_text("")
    recipe = build.Recipe("it", "It", "no time", tmp_path, {"it": "example.com/it"}, "-s")
    folders = {recipe.folder(), replace(recipe, tags=("tag",)).folder()}
    folders.add(replace(recipe, packages={"it": "example.com/other"}).folder())
    (tmp_path / "go.mod").write_text("module two")
    folders.add(recipe.folder())
    assert len(folders) == 4
    # How it is spoken of does not matter.
    assert replace(recipe, title="That", takes="long").folder() in folders
