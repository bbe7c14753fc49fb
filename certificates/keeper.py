"""Keeps the certificates in a Secret, and makes the API server trust them: in both webhook
configurations, and in APIServices.

The server serves the certificate of the Secret, which the kubelet mounts as files. During a
rollout two keepers may run at the same time. Each write of the Secret names the resourceVersion
that was read before. If two keepers renew at the same time, one write succeeds, and the other
keeper uses its result.
"""

import asyncio
import base64
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from random import Random
from typing import Any

import msgspec

from certificates.keyring import Keyring, Lives, next_keyring
from certificates.making import split
from spillover.kube.session import ApiError, ApiSession, NoAnswerError
from spillover.serving.certificates import Pair, UnreadableError, expires

ROTATE_ANNOTATION = "spillover.dev/rotate"
"""Annotation on the Secret. A new value renews the authority and the certificate."""
_ROTATED_ANNOTATION = "spillover.dev/rotated"

_LOOK_SECONDS = 2.0
_KNOWN_SECONDS = 10.0
"""Time from the write of an authority to the configurations until its first use. The API server
watches the configurations."""

_CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1"
_KINDS = ("mutatingwebhookconfigurations", "validatingwebhookconfigurations")
_API_SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SecretPlace:
    """Where the certificates are stored and published."""

    namespace: str
    secret: str
    names: tuple[str, ...]
    """DNS names and addresses that the certificate is for."""
    configuration: str
    """The name of both webhook configurations; "" if there are none."""
    api_services: tuple[str, ...] = ()
    """The names of APIServices."""

    @property
    def path(self) -> str:
        """The path of the Secret on the API server."""
        return f"/api/v1/namespaces/{self.namespace}/secrets/{self.secret}"

    def trusting(self) -> Iterator[str]:
        """The paths of the objects that have the authorities."""
        if self.configuration:
            yield from (f"{_CONFIGURATIONS}/{kind}/{self.configuration}" for kind in _KINDS)
        yield from (f"{_API_SERVICES}/{name}" for name in self.api_services)


class Keeper:
    """Renews and publishes the certificates. `clock` gives seconds, `now` is the wall clock."""

    def __init__(
        self,
        session: ApiSession,
        place: SecretPlace,
        lives: Lives,
        clock: Callable[[], float],
        now: Callable[[], datetime],
        random: Random,
    ) -> None:
        self._session = session
        self._place = place
        self._lives = lives
        self._clock = clock
        self._now = now
        self._random = random
        self._last: Keyring | None = None
        self._known_since: tuple[bytes, float] | None = None

    async def run(self) -> None:
        """Never returns. After a failure, tries again at the next look."""
        while True:
            try:
                await self._look()
            except (ApiError, NoAnswerError, UnreadableError) as error:
                _log.warning("certificates not kept this time", extra={"reason": str(error)})
            await asyncio.sleep(_LOOK_SECONDS * (0.75 + 0.5 * self._random.random()))

    async def _look(self) -> None:
        secret = await self._secret()
        stored = _keyring(secret) or self._last
        ring = next_keyring(
            stored,
            self._place.names,
            self._lives,
            self._now(),
            known_to_all=self._is_known(stored),
            wish=_annotation(secret, ROTATE_ANNOTATION),
        )
        if ring != _keyring(secret):
            try:
                await self._store(secret, ring)
            except ApiError as error:
                if error.status == 409:
                    return  # another keeper was faster
                raise
        if self._last is None:
            until = expires(ring.served.certificate).isoformat()
            _log.info("certificates are kept", extra={"expires": until})
        self._last = ring
        await self._publish(ring)

    def _is_known(self, ring: Keyring | None) -> bool:
        if ring is None or self._known_since is None:
            return False
        bundle, since = self._known_since
        return bundle == ring.bundle and self._clock() - since >= _KNOWN_SECONDS

    async def _secret(self) -> dict[str, Any]:
        """Reads the Secret, which the manifests create: the keeper has no permission to create it.
        Raises ApiError."""
        return _decoded(await self._session.request("GET", self._place.path))

    async def _store(self, secret: dict[str, Any], ring: Keyring) -> None:
        data = {
            "ca.crt": ring.bundle,
            "ca.key": ring.authority_key,
            "tls.crt": ring.served.certificate,
            "tls.key": ring.served.key,
        }
        encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
        metadata = secret["metadata"]
        annotations = {**(metadata.get("annotations") or {}), _ROTATED_ANNOTATION: ring.rotated}
        body = {**secret, "data": encoded, "metadata": {**metadata, "annotations": annotations}}
        await self._session.request("PUT", self._place.path, body=body)
        _log.info("certificates stored", extra={"authorities": len(ring.authorities)})

    async def _publish(self, ring: Keyring) -> None:
        """Writes all authorities to each object, and notes since when all have them."""
        bundle = base64.b64encode(ring.bundle).decode()
        known = True
        for path in self._place.trusting():
            try:
                found = _decoded(await self._session.request("GET", path))
            except ApiError as error:
                if error.status == 404:
                    continue  # an administrator has removed it
                raise
            stale = [field for field, present in _bundles(found) if present != bundle]
            if stale:
                known = False
                await self._patch(path, found, stale, bundle)
        if not known:
            self._known_since = None
        elif self._known_since is None or self._known_since[0] != ring.bundle:
            self._known_since = (ring.bundle, self._clock())

    async def _patch(
        self, path: str, found: dict[str, Any], fields: Sequence[str], bundle: str
    ) -> None:
        version = found["metadata"]["resourceVersion"]
        patch = [{"op": "test", "path": "/metadata/resourceVersion", "value": version}]
        patch += [{"op": "add", "path": field, "value": bundle} for field in fields]
        await self._session.request(
            "PATCH", path, body=patch, content_type="application/json-patch+json"
        )


def _bundles(found: dict[str, Any]) -> Iterator[tuple[str, str | None]]:
    """The fields of a webhook configuration or an APIService that have authorities, as JSON
    pointers, with their values."""
    if found.get("kind") == "APIService":
        yield "/spec/caBundle", found["spec"].get("caBundle")
    for index, webhook in enumerate(found.get("webhooks") or ()):
        yield f"/webhooks/{index}/clientConfig/caBundle", webhook["clientConfig"].get("caBundle")


def _keyring(secret: dict[str, Any]) -> Keyring | None:
    """Returns None if the Secret contains no keyring, or none that can be read."""
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


def _annotation(secret: dict[str, Any], key: str) -> str:
    annotations = secret["metadata"].get("annotations") or {}
    return str(annotations.get(key, ""))


def _decoded(content: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(content, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise NoAnswerError(f"not an object: {error}") from error
