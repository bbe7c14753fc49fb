"""The command `spillover`, as its user runs it."""

import json
import subprocess
import sys
from pathlib import Path

from harness.client import Client, Object
from harness.stage import Scene


def spillover(
    cluster: Client, *arguments: str, kubeconfig: Path | None = None, code: int = 0
) -> str:
    """What the command prints; what it complains of if it is to fail."""
    command = [str(Path(sys.executable).with_name("spillover")), *arguments]
    ended = subprocess.run(
        [*command, f"--kubeconfig={kubeconfig or cluster.kubeconfig}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == code, ended.stderr
    return ended.stdout or ended.stderr


def explained(scene: Scene, kind: str, name: str) -> Object:
    text = spillover(scene.cluster, "explain", kind, name, "-n", scene.namespace, "-o", "json")
    report: Object = json.loads(text)
    return report
