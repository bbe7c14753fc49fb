"""Files that a component reads, as they are shipped, read by that component."""

import subprocess
from pathlib import Path

import yaml

from harness.build import control_plane
from harness.places import MANIFESTS


def test_kube_scheduler_accepts_the_configuration_as_shipped(tmp_path: Path) -> None:
    """It decodes strictly: what a YAML library here accepts says nothing. With --write-config-to it
    ends once it has read the file, before it asks the API server anything."""
    written = tmp_path / "complete.yaml"
    ended = subprocess.run(
        [
            control_plane().binary("kube-scheduler"),
            f"--config={MANIFESTS / 'scheduler-config.yaml'}",
            f"--write-config-to={written}",
            "--master=http://127.0.0.1:1",
            "--secure-port=0",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    profiles = yaml.safe_load(written.read_text())["profiles"]
    assert [each["schedulerName"] for each in profiles] == [
        "spillover-scheduler",
        "ack-co-scheduler",
    ]
    first, second = ({**each, "schedulerName": ""} for each in profiles)
    assert first == second
    assert {"name": "TaintToleration"} in first["plugins"]["filter"]["disabled"]
