"""Which API servers are trusted. The server here is real, with a certificate made for each test."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from aiohttp import web

from harness.pki import Authority, Extensions
from spillover.kube.credentials import Credentials
from spillover.kube.session import ApiError, ApiSession, NoAnswerError

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


TOKEN = {"token": "t"}


def _kubeconfig(server: str, ca: Path, user: Mapping[str, str] = TOKEN) -> str:
    cluster = {"server": server, "certificate-authority": str(ca)}
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "it", "cluster": cluster}],
            "users": [{"name": "it", "user": dict(user)}],
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


async def test_authorities_that_rotate_are_trusted_without_a_restart(tmp_path: Path) -> None:
    """As a kubelet brings them: the file changes, and later the server's certificate."""
    first, second = Authority.create("first", PLAIN), Authority.create("second", PLAIN)
    async with (
        server_that_rotates(tmp_path, first) as (kubeconfig, rotate),
        ApiSession(Credentials(kubeconfig)) as session,
    ):
        assert b"36" in await session.request("GET", "/version", seconds=10)
        (tmp_path / "ca").write_bytes(second.certificate)
        rotate(second)
        with pytest.raises(NoAnswerError, match="certificate verify failed"):
            await session.request("GET", "/version", seconds=10)
        assert b"36" in await session.request("GET", "/version", seconds=10)
        async with session.stream("/version", params={}, idle_seconds=10) as content:
            assert b"36" in await content.read()


async def test_an_authority_that_stays_wrong_is_not_trusted(tmp_path: Path) -> None:
    first, second = Authority.create("first", PLAIN), Authority.create("second", PLAIN)
    async with (
        server_that_rotates(tmp_path, first) as (kubeconfig, rotate),
        ApiSession(Credentials(kubeconfig)) as session,
    ):
        rotate(second)
        for _ in range(3):
            with pytest.raises(NoAnswerError, match="certificate verify failed"):
                await session.request("GET", "/version", seconds=10)
        rotate(first)
        assert b"36" in await session.request("GET", "/version", seconds=10)


async def test_a_file_that_is_half_written_is_read_again(tmp_path: Path) -> None:
    first, second = Authority.create("first", PLAIN), Authority.create("second", PLAIN)
    async with (
        server_that_rotates(tmp_path, first) as (kubeconfig, rotate),
        ApiSession(Credentials(kubeconfig)) as session,
    ):
        assert b"36" in await session.request("GET", "/version", seconds=10)
        (tmp_path / "ca").write_bytes(second.certificate[:100])
        rotate(second)
        with pytest.raises(NoAnswerError, match="certificate verify failed"):
            await session.request("GET", "/version", seconds=10)
        (tmp_path / "ca").write_bytes(second.certificate)
        async with asyncio.timeout(30):
            while True:
                try:
                    assert b"36" in await session.request("GET", "/version", seconds=10)
                    break
                except NoAnswerError:
                    await asyncio.sleep(0.2)


async def test_a_client_certificate_that_rotates_is_used_after_a_401(tmp_path: Path) -> None:
    """An API server asks for a client certificate and does not require one: an old one is refused
    by 401, over a connection that stays open."""
    authority = Authority.create("ca", PLAIN)
    until = datetime.now(UTC) + timedelta(days=1)

    def write_client(name: str) -> None:
        pair = authority.issue(name, names=[HOST], until=until)
        (tmp_path / "client.crt").write_bytes(pair.certificate)
        (tmp_path / "client.key").write_bytes(pair.key)

    async def answer(request: web.Request) -> web.Response:
        certificate = request.get_extra_info("peercert")
        names = [value for ((key, value),) in certificate["subject"] if key == "commonName"]
        return web.json_response({"names": names}, status=200 if names == ["new"] else 401)

    pair = authority.issue("kube-apiserver", names=[HOST], until=until)
    (tmp_path / "ca").write_bytes(authority.certificate)
    (tmp_path / "crt").write_bytes(pair.certificate)
    (tmp_path / "key").write_bytes(pair.key)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(tmp_path / "ca"))
    context.verify_mode = ssl.CERT_OPTIONAL
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.load_cert_chain(tmp_path / "crt", tmp_path / "key")
    write_client("old")
    app = web.Application()
    app.add_routes([web.get("/version", answer)])
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, 0, ssl_context=context).start()
        user = {
            "client-certificate": str(tmp_path / "client.crt"),
            "client-key": str(tmp_path / "client.key"),
        }
        kubeconfig = tmp_path / "kubeconfig"
        server = f"https://{HOST}:{runner.addresses[0][1]}"
        kubeconfig.write_text(_kubeconfig(server, tmp_path / "ca", user))
        async with ApiSession(Credentials(kubeconfig)) as session:
            with pytest.raises(ApiError, match="401"):
                await session.request("GET", "/version", seconds=10)
            write_client("new")
            with pytest.raises(ApiError, match="401"):
                await session.request("GET", "/version", seconds=10)
            assert b"new" in await session.request("GET", "/version", seconds=10)
    finally:
        await runner.cleanup()


@asynccontextmanager
async def server_that_rotates(
    folder: Path, authority: Authority
) -> AsyncIterator[tuple[Path, Callable[[Authority], None]]]:
    """Its kubeconfig, and what gives it a certificate of another authority. Each request has a
    connection of its own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    def rotate(to: Authority) -> None:
        pair = to.issue("kube-apiserver", names=[HOST], until=datetime.now(UTC) + timedelta(days=1))
        (folder / "crt").write_bytes(pair.certificate)
        (folder / "key").write_bytes(pair.key)
        context.load_cert_chain(folder / "crt", folder / "key")

    async def version(_: web.Request) -> web.Response:
        answer = web.json_response({"major": "1", "minor": "36"})
        answer.force_close()
        return answer

    rotate(authority)
    (folder / "ca").write_bytes(authority.certificate)
    app = web.Application()
    app.add_routes([web.get("/version", version)])
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, 0, ssl_context=context).start()
        kubeconfig = folder / "kubeconfig"
        server = f"https://{HOST}:{runner.addresses[0][1]}"
        kubeconfig.write_text(_kubeconfig(server, folder / "ca"))
        yield kubeconfig, rotate
    finally:
        await runner.cleanup()
