"""A serving certificate, and the TLS context that presents it."""

import asyncio
import logging
import ssl
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509

_LOOK_SECONDS = 2.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, in PEM."""

    certificate: bytes
    key: bytes


class UnreadableError(Exception):
    """The content is not a certificate or a key, or the two do not match."""


def expires(certificate: bytes) -> datetime:
    """The expiry time of a certificate in PEM. Raises UnreadableError."""
    try:
        return x509.load_pem_x509_certificate(certificate).not_valid_after_utc
    except ValueError as error:
        raise UnreadableError(str(error)) from error


class Served:
    """The TLS context of the server. New connections use the certificate that was loaded last."""

    def __init__(self) -> None:
        self.context = _context()
        self.loaded = asyncio.Event()
        self._pair: Pair | None = None

    def require_clients_of(self, authorities: Path) -> None:
        """From now on, each client must present a certificate of one of the authorities.
        `authorities` is a file in PEM. Raises UnreadableError."""
        try:
            self.context.load_verify_locations(authorities)
        except (ssl.SSLError, OSError) as error:
            raise UnreadableError(f"{authorities}: {error}") from error
        self.context.verify_mode = ssl.CERT_REQUIRED

    def ask_for_clients_of(self, authorities: str) -> None:
        """Makes a new context. With it a client that presents a certificate must present one of
        these authorities; a client may present none. `authorities` are certificates in PEM. Raises
        UnreadableError."""
        context = _context()
        try:
            context.load_verify_locations(cadata=authorities)
        except (ssl.SSLError, ValueError) as error:
            raise UnreadableError(f"authorities of clients: {error}") from error
        context.verify_mode = ssl.CERT_OPTIONAL
        if self._pair is not None:
            _load(self._pair, context)
        self.context = context

    def load(self, pair: Pair) -> None:
        """Loads the pair. Raises UnreadableError, and then keeps the pair loaded before."""
        if pair == self._pair:
            return
        until = expires(pair.certificate)
        # First a separate context: a mismatched pair would replace the working one.
        _load(pair, _context(), self.context)
        self._pair = pair
        self.loaded.set()
        _log.info("certificate loaded", extra={"expires": until.isoformat()})

    def expires(self) -> float:
        """The expiry time in seconds since 1970; 0 while no certificate is loaded."""
        return expires(self._pair.certificate).timestamp() if self._pair is not None else 0.0


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _load(pair: Pair, *contexts: ssl.SSLContext) -> None:
    """Loads the pair into each context, until one refuses it. Raises UnreadableError."""
    with tempfile.TemporaryDirectory() as folder:  # ssl reads files only
        certificate, key = Path(folder) / "crt", Path(folder) / "key"
        for file, content in ((certificate, pair.certificate), (key, pair.key)):
            file.touch(mode=0o600)
            file.write_bytes(content)
        try:
            for context in contexts:
                context.load_cert_chain(certificate, key)
        except (ssl.SSLError, OSError) as error:
            raise UnreadableError(str(error)) from error


class CertificateFiles:
    """A certificate and its key in mounted files, which something outside this process renews."""

    def __init__(self, certificate: Path, key: Path, served: Served) -> None:
        self._files = (certificate, key)
        self._served = served
        self._problem = ""

    async def run(self) -> None:
        """Loads the files, and loads them again when they change. If they cannot be read, the
        server keeps the certificate that was loaded before. Never returns."""
        while True:
            try:
                contents = [await asyncio.to_thread(file.read_bytes) for file in self._files]
                self._served.load(Pair(*contents))
                self._problem = ""
            except (OSError, UnreadableError) as error:
                if str(error) != self._problem:  # once, not at each look
                    _log.warning("certificate not read", extra={"reason": str(error)})
                self._problem = str(error)
            await asyncio.sleep(_LOOK_SECONDS)
