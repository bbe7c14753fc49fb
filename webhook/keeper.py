"""Keeping the certificates: stored in a Secret, trusted by both webhook configurations, served.

Every replica does this. What is stored is changed under the Secret's resourceVersion: of two
replicas that want to renew at once, one succeeds and the other takes what it finds.
"""

import asyncio
import base64
import logging
import ssl
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from spillover.kube.session import ApiError, ApiSession, NoAnswerError
from webhook.certificates import Pair, UnreadableError, expires, split
from webhook.keyring import Keyring, Lives, next_keyring

ROTATE_ANNOTATION = "spillover.dev/rotate"
"""On the Secret: another value than before renews authority and certificate."""
_ROTATED_ANNOTATION = "spillover.dev/rotated"

_LOOK_SECONDS = 2.0
KNOWN_SECONDS = 10.0
"""From the configurations' having an authority to its being used: the API server watches them."""

_CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1"
_KINDS = ("mutatingwebhookconfigurations", "validatingwebhookconfigurations")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """The Secret, the names that the certificate is for, and the configurations' common name."""

    namespace: str
    secret: str
    names: tuple[str, ...]
    configuration: str

    @property
    def secrets(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/secrets"


class Served:
    """The TLS context of the server. New connections use what was loaded last."""

    def __init__(self) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.loaded = asyncio.Event()
        self._pair: Pair | None = None

    def load(self, pair: Pair) -> None:
        """Raises UnreadableError, and then goes on with what was loaded before."""
        if pair == self._pair:
            return
        with tempfile.TemporaryDirectory() as folder:  # ssl reads files only
            certificate, key = Path(folder) / "crt", Path(folder) / "key"
            for file, content in ((certificate, pair.certificate), (key, pair.key)):
                file.touch(mode=0o600)
                file.write_bytes(content)
            try:
                # First elsewhere: a pair that does not match would replace what works.
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
                self.context.load_cert_chain(certificate, key)
            except (ssl.SSLError, OSError) as error:
                raise UnreadableError(str(error)) from error
        self._pair = pair
        self.loaded.set()
        _log.info("certificate loaded", extra={"expires": expires(pair.certificate).isoformat()})

    def expires(self) -> float:
        """In seconds since 1970; 0 while there is none."""
        return expires(self._pair.certificate).timestamp() if self._pair is not None else 0.0


class Keeper:
    """`clock` gives seconds, `now` is the wall clock."""

    def __init__(
        self,
        session: ApiSession,
        place: Place,
        lives: Lives,
        served: Served,
        clock: Callable[[], float],
        now: Callable[[], datetime],
        random: Random,
    ) -> None:
        self._session = session
        self._place = place
        self._lives = lives
        self._served = served
        self._clock = clock
        self._now = now
        self._random = random
        self._last: Keyring | None = None
        self._known_since: tuple[bytes, float] | None = None

    async def run(self) -> None:
        """Never returns. What fails is tried again at the next look."""
        while True:
            try:
                await self._look()
            except (ApiError, NoAnswerError, UnreadableError) as error:
                _log.warning("certificates not kept this time", extra={"reason": str(error)})
            await asyncio.sleep(_LOOK_SECONDS * (0.75 + 0.5 * self._random.random()))

    async def _look(self) -> None:
        secret = await self._secret()
        stored = (_keyring(secret) if secret is not None else None) or self._last
        ring = next_keyring(
            stored,
            self._place.names,
            self._lives,
            self._now(),
            known_to_all=self._is_known(stored),
            wish=_annotation(secret, ROTATE_ANNOTATION),
        )
        if secret is None or ring != _keyring(secret):
            try:
                await self._store(secret, ring)
            except ApiError as error:
                if error.status == 409:
                    return  # another replica was faster
                raise
        self._last = ring
        await self._publish(ring)
        self._served.load(ring.served)

    def _is_known(self, ring: Keyring | None) -> bool:
        if ring is None or self._known_since is None:
            return False
        bundle, since = self._known_since
        return bundle == ring.bundle and self._clock() - since >= KNOWN_SECONDS

    async def _secret(self) -> dict[str, Any] | None:
        path = f"{self._place.secrets}/{self._place.secret}"
        try:
            return _decoded(await self._session.request("GET", path))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def _store(self, secret: dict[str, Any] | None, ring: Keyring) -> None:
        data = {
            "ca.crt": ring.bundle,
            "ca.key": ring.authority_key,
            "tls.crt": ring.served.certificate,
            "tls.key": ring.served.key,
        }
        body: dict[str, Any] = secret or {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/tls",
            "metadata": {"name": self._place.secret, "namespace": self._place.namespace},
        }
        body["data"] = {key: base64.b64encode(value).decode() for key, value in data.items()}
        annotations = body["metadata"].setdefault("annotations", {})
        annotations[_ROTATED_ANNOTATION] = ring.rotated
        if secret is None:
            await self._session.request("POST", self._place.secrets, body=body)
        else:
            path = f"{self._place.secrets}/{self._place.secret}"
            await self._session.request("PUT", path, body=body)
        _log.info("certificates stored", extra={"authorities": len(ring.authorities)})

    async def _publish(self, ring: Keyring) -> None:
        """Has both configurations trust all authorities, and notes since when they do."""
        bundle = base64.b64encode(ring.bundle).decode()
        known = True
        for kind in _KINDS:
            path = f"{_CONFIGURATIONS}/{kind}/{self._place.configuration}"
            try:
                configuration = _decoded(await self._session.request("GET", path))
            except ApiError as error:
                if error.status == 404:
                    continue  # somebody has opted out of it: it needs to know nothing
                raise
            stale = [
                index
                for index, webhook in enumerate(configuration.get("webhooks") or ())
                if webhook["clientConfig"].get("caBundle") != bundle
            ]
            if stale:
                known = False
                await self._patch(path, configuration, stale, bundle)
        if not known:
            self._known_since = None
        elif self._known_since is None or self._known_since[0] != ring.bundle:
            self._known_since = (ring.bundle, self._clock())

    async def _patch(
        self, path: str, configuration: dict[str, Any], stale: Sequence[int], bundle: str
    ) -> None:
        version = configuration["metadata"]["resourceVersion"]
        patch = [{"op": "test", "path": "/metadata/resourceVersion", "value": version}]
        patch += [
            {"op": "add", "path": f"/webhooks/{index}/clientConfig/caBundle", "value": bundle}
            for index in stale
        ]
        await self._session.request(
            "PATCH", path, body=patch, content_type="application/json-patch+json"
        )


class FileKeeper:
    """Certificates that somebody else keeps, such as cert-manager, mounted as files."""

    def __init__(self, certificate: Path, key: Path, served: Served) -> None:
        self._files = (certificate, key)
        self._served = served

    async def run(self) -> None:
        """Never returns. Files that change are read again; while they cannot be, what was read
        before is served."""
        while True:
            try:
                contents = [await asyncio.to_thread(file.read_bytes) for file in self._files]
                self._served.load(Pair(*contents))
            except (OSError, UnreadableError) as error:
                _log.warning("certificate not read", extra={"reason": str(error)})
            await asyncio.sleep(_LOOK_SECONDS)


def _keyring(secret: dict[str, Any]) -> Keyring | None:
    """None for a Secret that holds none, or none that can be read."""
    try:
        data = {
            key: base64.b64decode(secret["data"][key], validate=True)
            for key in ("ca.crt", "ca.key", "tls.crt", "tls.key")
        }
        authorities = tuple(split(data["ca.crt"]))
    except (KeyError, TypeError, ValueError, UnreadableError):
        return None
    served = Pair(data["tls.crt"], data["tls.key"])
    return Keyring(authorities, data["ca.key"], served, _annotation(secret, _ROTATED_ANNOTATION))


def _annotation(secret: dict[str, Any] | None, key: str) -> str:
    annotations = (secret or {}).get("metadata", {}).get("annotations") or {}
    return str(annotations.get(key, ""))


def _decoded(content: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(content, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise NoAnswerError(f"not an object: {error}") from error
