"""How a Pod logs in."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from harness.pki import Authority
from spillover.kube import credentials
from spillover.kube.credentials import Credentials, CredentialsError
from spillover.kube.service_account import ServiceAccount

ENVIRONMENT = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "ca.crt").write_bytes(Authority.create("ca").certificate)
    (tmp_path / "namespace").write_text("ours\n")
    (tmp_path / "token").write_text("first\n")
    return tmp_path


async def test_each_request_has_the_token_that_is_there_now(folder: Path) -> None:
    account = ServiceAccount(folder, ENVIRONMENT)
    assert (account.server, account.namespace) == ("https://10.0.0.1:443", "ours")
    assert await account.headers() == {"Authorization": "Bearer first"}
    (folder / "token").write_text("second")
    assert await account.headers() == {"Authorization": "Bearer second"}


def test_a_server_with_an_address_of_version_6(folder: Path) -> None:
    environment = {**ENVIRONMENT, "KUBERNETES_SERVICE_HOST": "fd00::1"}
    assert ServiceAccount(folder, environment).server == "https://[fd00::1]:443"


@pytest.mark.parametrize("name", ["ca.crt", "token"])
def test_a_file_that_is_missing_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(OSError, match=f"No such file.*{name}"):
        ServiceAccount(folder, ENVIRONMENT)


def test_the_namespace_may_be_missing(folder: Path) -> None:
    """Only a command asks for it, and a volume may be made without it."""
    (folder / "namespace").unlink()
    assert ServiceAccount(folder, ENVIRONMENT).namespace == "default"


def test_so_are_an_empty_token_and_a_variable(folder: Path) -> None:
    with pytest.raises(ValueError, match="KUBERNETES_SERVICE_PORT"):
        ServiceAccount(folder, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"})
    (folder / "token").write_text("\n")
    with pytest.raises(ValueError, match=r"token is empty"):
        ServiceAccount(folder, ENVIRONMENT)


async def test_a_pod_without_an_account_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setattr(credentials, "ServiceAccount", partial(ServiceAccount, Path("nowhere")))
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(CredentialsError, match="credentials: FileNotFoundError"):
        await Credentials().reload()


@pytest.mark.parametrize(
    "module",
    ["extender.__main__", "webhook.__main__", "certificates.__main__", "spillover.cli.main"],
)
def test_the_library_for_kubeconfig_files_is_imported_when_one_is_read(module: str) -> None:
    script = f"import {module}, sys; sys.exit('kubernetes_asyncio' in sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr
