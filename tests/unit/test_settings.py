"""The extender's settings."""

import pytest
from pydantic import ValidationError

from extender.__main__ import main
from extender.settings import read_settings


def test_defaults_serve_nothing_but_loopback() -> None:
    settings = read_settings([])
    assert (settings.address, settings.port) == ("127.0.0.1", 8888)
    assert settings.conventions().virtual_label == ("type", "virtual-kubelet")


def test_flags_and_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPILLOVER_HEALTH_PORT", "9999")
    monkeypatch.setenv("SPILLOVER_PORT", "9998")
    settings = read_settings(
        ["--port", "7", "--virtual-node-label", "kind=vk", "--provider-taints", "a/b,c/d"]
    )
    assert (settings.port, settings.health_port) == (7, 9999)
    conventions = settings.conventions()
    assert conventions.virtual_label == ("kind", "vk")
    assert conventions.provider_taints == {"a/b", "c/d"}


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (["--port", "x"], "port"),
        (["--port", "70000"], "port"),
        (["--virtual-node-label", "nothing"], "virtual_node_label"),
        (["--provider-taints", "node.kubernetes.io/not-ready"], "provider_taints"),
        (["--log-level", "LOUD"], "log_level"),
    ],
)
def test_bad_settings_name_the_field(
    arguments: list[str],
    field: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(ValidationError) as caught:
        read_settings(arguments)
    assert [error["loc"][0] for error in caught.value.errors()] == [field]
    monkeypatch.setattr("sys.argv", ["extender", *arguments])
    assert main() == 2
    assert f"--{field.replace('_', '-')}: " in capsys.readouterr().err
