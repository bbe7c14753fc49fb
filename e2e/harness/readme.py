"""The commands of a section of the README, run word for word."""

import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.client import ClusterError
from harness.places import ROOT

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# (\S+)\n")
_PUSH = "docker push "
_SECONDS = 1500


@dataclass(frozen=True)
class Step:
    """A command, or a file to write. `path` is empty for a command."""

    path: str
    text: str


def steps(section: str, readme: str) -> Iterator[Step]:
    """Of the section with this heading, in their order."""
    _, _, rest = readme.partition(f"\n## {section}\n")
    body, _, _ = rest.partition("\n## ")
    for language, text in _BLOCK.findall(body):
        if language == "console":
            for line in text.splitlines():
                if line.startswith("$ "):
                    yield Step("", line.removeprefix("$ "))
        elif match := _FILE.match(text):
            yield Step(match[1], text)


def follow(
    section: str, folder: Path, environment: Mapping[str, str], push: Callable[[str], None]
) -> list[str]:
    """Runs the section in `folder`, which gets what the checkout has. `push` does what
    `docker push NAME` is for: it brings the image to the nodes. Returns the commands. Raises
    ClusterError with what a command said when it fails."""
    for name in ("dev", "manifests", "e2e"):
        (folder / name).symlink_to(ROOT / name)
    followed = []
    for step in steps(section, (ROOT / "README.md").read_text()):
        if step.path:
            (folder / step.path).parent.mkdir(parents=True, exist_ok=True)
            (folder / step.path).write_text(step.text)
        elif step.text.startswith(_PUSH):
            push(step.text.removeprefix(_PUSH))
        else:
            run(step.text, folder, environment)
        followed.append(step.text)
    return followed


def run(line: str, folder: Path, environment: Mapping[str, str]) -> None:
    """One command. Raises ClusterError with what it said when it fails."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    ended = subprocess.run(
        ["bash", "-e", "-c", line],  # noqa: S607 - any bash
        cwd=folder,
        env={**kept, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    if ended.returncode:
        raise ClusterError(f"$ {line}\n{ended.stdout}{ended.stderr}")
