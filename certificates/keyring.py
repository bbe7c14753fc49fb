"""Decides how the certificates change: a pure step from the stored keyring to the next one.

    nothing stored ──▶ authority A, certificate signed by A
    certificate old ─▶ new certificate signed by A
    authority old ───▶ authorities A and B; the certificate is still signed by A
    B known to all ──▶ new certificate signed by B
    A expired ───────▶ A is removed

The API server trusts all stored authorities. So at each step it trusts the certificate that any
replica serves. "Known to all" means that both webhook configurations have had the authorities for
some time.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from certificates.making import (
    belong_together,
    is_for,
    is_signed_by,
    new_authority,
    new_certificate,
)
from spillover.serving.certificates import Pair, UnreadableError, expires

MOST_AUTHORITIES = 4


@dataclass(frozen=True, slots=True)
class Lives:
    """How long authorities and certificates are valid. Each is renewed when a third of its life is
    left."""

    authority: timedelta = timedelta(days=3650)
    certificate: timedelta = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class Keyring:
    """The authorities, and the certificate that one of them has signed."""

    authorities: tuple[bytes, ...]
    """All trusted authorities in PEM, the newest first."""
    authority_key: bytes
    """The private key of the newest authority."""
    served: Pair
    """The certificate that the replicas serve, with its key."""
    rotated: str = ""
    """The `wish` of the last rotation."""

    @property
    def bundle(self) -> bytes:
        return b"".join(self.authorities)


def next_keyring(
    stored: Keyring | None,
    names: Sequence[str],
    lives: Lives,
    now: datetime,
    *,
    known_to_all: bool,
    wish: str = "",
) -> Keyring:
    """Returns the keyring to store. It equals `stored` if nothing has to change. `wish` is any
    text: a new value renews the authority and the certificate."""
    if stored is None or not _is_readable(stored):
        return _fresh(names, lives, now, wish)
    ring = replace(stored, authorities=tuple(a for a in stored.authorities if expires(a) > now))
    if not ring.authorities:
        return _fresh(names, lives, now, wish)
    newest = ring.authorities[0]
    left = expires(ring.served.certificate) - now
    if is_signed_by(ring.served.certificate, newest):
        # One change at a time: the newest authority or the one before it has signed the served
        # certificate.
        if wish != ring.rotated or expires(newest) - now < lives.authority / 3:
            made = new_authority(now, lives.authority)
            kept = (made.certificate, *ring.authorities)[:MOST_AUTHORITIES]
            return replace(ring, authorities=kept, authority_key=made.key, rotated=wish)
        if left >= lives.certificate / 3 and is_for(ring.served.certificate, names):
            return ring
    elif not known_to_all and left > lives.certificate / 20:
        return ring  # wait until the new authority is known to all, while there is time
    authority = Pair(newest, ring.authority_key)
    return replace(ring, served=new_certificate(authority, names, now, lives.certificate))


def _fresh(names: Sequence[str], lives: Lives, now: datetime, wish: str) -> Keyring:
    authority = new_authority(now, lives.authority)
    served = new_certificate(authority, names, now, lives.certificate)
    return Keyring((authority.certificate,), authority.key, served, wish)


def _is_readable(ring: Keyring) -> bool:
    try:
        expires(ring.served.certificate)
        is_for(ring.served.certificate, [])
        return belong_together(ring.served) and any(
            is_signed_by(ring.served.certificate, authority) for authority in ring.authorities
        )
    except UnreadableError:
        return False
