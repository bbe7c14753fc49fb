"""How the README's installation is read, and what a real node asks of a machine."""

import os
from pathlib import Path

import pytest

from harness import image, readme
from harness.client import ClusterError
from harness.node import host
from harness.places import ROOT

README = """# It

## First

```console
$ not this
```

## On your cluster

Some words.

```console
$ ./dev image --tag example.com/it:1
$ docker push example.com/it:1
ignored output
```

```yaml
# deploy/kustomization.yaml
kind: Kustomization
```

```yaml
kind: NoFile
```

## Last

```console
$ nor this
```
"""


def test_commands_and_files_of_one_section_in_order() -> None:
    assert list(readme.steps("On your cluster", README)) == [
        readme.Step("", "./dev image --tag example.com/it:1"),
        readme.Step("", "docker push example.com/it:1"),
        readme.Step(
            "deploy/kustomization.yaml", "# deploy/kustomization.yaml\nkind: Kustomization\n"
        ),
    ]
    assert list(readme.steps("No such section", README)) == []


def test_following_stops_at_the_first_command_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ("echo one > one", "docker push a/b:1", "ls nowhere", "touch two")
    block = "".join(f"$ {line}\n" for line in lines)
    (tmp_path / "README.md").write_text(f"\n## It\n\n```console\n{block}```\n")
    monkeypatch.setattr(readme, "ROOT", tmp_path)
    pushed: list[str] = []
    folder = tmp_path / "checkout"
    folder.mkdir()
    with pytest.raises(ClusterError, match=r"\$ ls nowhere"):
        readme.follow("It", folder, {"PATH": os.environ["PATH"]}, pushed.append)
    assert (folder / "one").read_text() == "one\n"
    assert pushed == ["a/b:1"]
    assert not (folder / "two").exists()


def test_the_readme_has_the_commands_that_the_node_tier_runs() -> None:
    found = list(readme.steps("On your cluster", (ROOT / "README.md").read_text()))
    commands = [step.text for step in found if not step.path]
    assert commands[0].startswith("./dev image --tag ")
    assert commands[1] == f"docker push {commands[0].split()[-1]}"
    assert [step.path for step in found if step.path] == ["deploy/kustomization.yaml"]
    assert f":{image.version()}" in commands[0]


def test_a_real_node_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    assert host.obstacle() == "a real node needs root"
    monkeypatch.setattr(os, "getuid", lambda: 0)
    monkeypatch.setattr(host, "search_path", lambda: "/nowhere")
    reason = host.obstacle()
    assert reason is not None
    assert "a real node needs buildah, catatonit, containerd" in reason
    assert f"apt-get install --no-install-recommends {' '.join(host.packages_wanted())}" in reason


BUILDERS = {
    "podman": "podman build --tag=a:1 --build-arg=BASE=b@sha256:0 --timestamp=315532800 .",
    "buildah": "buildah build --tag=a:1 --build-arg=BASE=b@sha256:0 --timestamp=315532800 .",
    "docker": "docker build --tag=a:1 --build-arg=BASE=b@sha256:0 .",
}


@pytest.mark.parametrize(("builder", "words"), BUILDERS.items(), ids=BUILDERS)
def test_how_each_builder_is_called(builder: str, words: str) -> None:
    assert image.command(builder, "a:1", "b@sha256:0") == words.split()
    assert "BASE" not in " ".join(image.command(builder, "a:1", ""))


def test_a_docker_without_an_engine_builds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, status in (("docker", 1), ("buildah", 0)):
        (tmp_path / name).write_text(f"#!/bin/sh\nexit {status}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/nowhere")
    assert image.find_builder() == "buildah"
    (tmp_path / "buildah").unlink()
    with pytest.raises(ClusterError, match="docker has no engine that answers, podman is not inst"):
        image.find_builder()
