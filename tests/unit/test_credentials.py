"""Which API servers are trusted. The server here is real, with a certificate made for each test."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from aiohttp import web

from harness.pki import Authority, Extensions
from spillover.kube.credentials import Credentials
from spillover.kube.session import ApiSession, NoAnswerError

HOST = "127.0.0.1"
PLAIN = Extensions(key_usage=False, identifiers=False)


@asynccontextmanager
async def api_server(
    folder: Path, authority: Authority, *, trusted: Authority, names: list[str], days: int = 1
) -> AsyncIterator[Path]:
    """A server with a certificate of `authority`; the kubeconfig trusts `trusted`."""
    now = datetime.now(UTC)
    pair = authority.issue("kube-apiserver", names=names, until=now + timedelta(days=days))
    certificate, key, ca = folder / "crt", folder / "key", folder / "ca"
    certificate.write_bytes(pair.certificate)
    key.write_bytes(pair.key)
    ca.write_bytes(trusted.certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    app = web.Application()
    app.add_routes([web.get("/version", _version)])
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, HOST, 0, ssl_context=context)
        await site.start()
        port = runner.addresses[0][1]
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_text(_kubeconfig(f"https://{HOST}:{port}", ca))
        yield kubeconfig
    finally:
        await runner.cleanup()


async def _version(_: web.Request) -> web.Response:
    return web.json_response({"major": "1", "minor": "36"})


def _kubeconfig(server: str, ca: Path) -> str:
    cluster = {"server": server, "certificate-authority": str(ca)}
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "it", "cluster": cluster}],
            "users": [{"name": "it", "user": {"token": "t"}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
            "current-context": "it",
        }
    )


async def ask(kubeconfig: Path) -> bytes:
    async with ApiSession(Credentials(kubeconfig)) as session:
        return await session.request("GET", "/version", seconds=10)


@pytest.mark.parametrize(
    "extensions",
    [
        Extensions(),
        Extensions(key_usage=False),
        Extensions(identifiers=False),
        PLAIN,
    ],
    ids=["all", "no key usage", "no key identifiers", "neither"],
)
async def test_authorities_that_kubelet_accepts_are_accepted(
    tmp_path: Path, extensions: Extensions
) -> None:
    """Python 3.13 refuses the last three unless it is told not to."""
    authority = Authority.create("ca", extensions)
    async with api_server(tmp_path, authority, trusted=authority, names=[HOST]) as kubeconfig:
        assert b"36" in await ask(kubeconfig)


@pytest.mark.parametrize(
    ("names", "days", "is_trusted", "words"),
    [
        (["127.0.0.2"], 1, True, "IP address mismatch"),
        ([HOST], -1, True, "certificate has expired"),
        ([HOST], 1, False, "certificate verify failed"),
    ],
    ids=["another host", "expired", "another authority"],
)
async def test_host_name_dates_and_chain_are_checked(
    tmp_path: Path, names: list[str], days: int, *, is_trusted: bool, words: str
) -> None:
    authority = Authority.create("ca", PLAIN)
    trusted = authority if is_trusted else Authority.create("ca", PLAIN)
    server = api_server(tmp_path, authority, trusted=trusted, names=names, days=days)
    async with server as kubeconfig:
        with pytest.raises(NoAnswerError, match=words):
            await ask(kubeconfig)


async def test_a_stricter_default_of_python_is_not_inherited(tmp_path: Path) -> None:
    """On every version of Python the checks are the same."""
    authority = Authority.create("ca", replace(PLAIN, key_usage=True))
    async with api_server(tmp_path, authority, trusted=authority, names=[HOST]) as kubeconfig:
        credentials = Credentials(kubeconfig)
        await credentials.reload()
        context = credentials.ssl_context()
    assert not context.verify_flags & ssl.VERIFY_X509_STRICT
    assert context.check_hostname
    assert context.verify_mode == ssl.CERT_REQUIRED
