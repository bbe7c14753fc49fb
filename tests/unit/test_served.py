"""What the webhook serves when certificates change."""

import asyncio
import contextlib
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certificates.making import new_authority, new_certificate
from spillover.serving.certificates import CertificateFiles, Pair, Served, UnreadableError

NOW = datetime.now(UTC)
LIFE = timedelta(days=1)
AUTHORITY = new_authority(NOW, LIFE)


def made() -> Pair:
    return new_certificate(AUTHORITY, ["127.0.0.1"], NOW, LIFE)


async def shown(served: Served) -> str:
    """The certificate that a new connection is shown, in PEM; trusted by the authority."""
    server = await asyncio.start_server(lambda _, w: w.close(), "127.0.0.1", 0, ssl=served.context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        client = ssl.create_default_context(cadata=AUTHORITY.certificate.decode())
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client)
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()
    return ssl.DER_cert_to_PEM_cert(der)


def same(pem: str, pair: Pair) -> bool:
    return "".join(pem.split()) == "".join(pair.certificate.decode().split())


async def test_a_new_pair_is_shown_to_new_connections() -> None:
    served, first, second = Served(), made(), made()
    served.load(first)
    assert same(await shown(served), first)
    served.load(second)
    assert same(await shown(served), second)
    assert served.expires() == pytest.approx((NOW + LIFE).timestamp(), abs=1)


@pytest.mark.parametrize("broken", ["key of another", "no certificate", "no key"])
async def test_a_broken_pair_leaves_the_one_before(broken: str) -> None:
    served, first, other = Served(), made(), made()
    served.load(first)
    pair = {
        "key of another": Pair(other.certificate, first.key),
        "no certificate": Pair(b"x", first.key),
        "no key": Pair(other.certificate, b""),
    }[broken]
    with pytest.raises(UnreadableError):
        served.load(pair)
    assert same(await shown(served), first)
    served.load(other)
    assert same(await shown(served), other)


async def test_files_are_read_again_when_they_change(tmp_path: Path) -> None:
    served, first, second = Served(), made(), made()
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    keeping = asyncio.create_task(CertificateFiles(certificate, key, served).run())
    for pair in (first, second):
        certificate.write_bytes(pair.certificate)
        key.write_bytes(pair.key)
        async with asyncio.timeout(20):
            while not (served.loaded.is_set() and same(await shown(served), pair)):  # noqa: ASYNC110 - files tell nobody
                await asyncio.sleep(0.05)
    certificate.unlink()
    assert same(await shown(served), second)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
