"""What to do about the certificates: a pure step from what is stored to what is to be stored.

    nothing stored ──▶ authority A, certificate by A
    certificate old ─▶ another certificate by A
    authority old ───▶ authority B beside A; the certificate is by A still
    B known to all ──▶ certificate by B
    A expired ───────▶ A is dropped

The API server trusts all authorities that are stored, so at each step it trusts what is served,
by whichever replica. "Known to all" means that both webhook configurations have had the authorities
for a while.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from webhook.certificates import (
    Pair,
    UnreadableError,
    belong_together,
    expires,
    is_for,
    is_signed_by,
    new_authority,
    new_certificate,
)

MOST_AUTHORITIES = 4


@dataclass(frozen=True, slots=True)
class Lives:
    """How long what is made is valid. It is renewed when a third of its life is left."""

    authority: timedelta = timedelta(days=3650)
    certificate: timedelta = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class Keyring:
    """`authorities` are all that are to be trusted, the newest first, whose key is `authority_key`.
    `served` is what the replicas serve. `rotated` is the last wish to rotate that was granted."""

    authorities: tuple[bytes, ...]
    authority_key: bytes
    served: Pair
    rotated: str = ""

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
    """`wish` is any text that changes when everything is to be renewed. Equal to `stored` where
    there is nothing to do."""
    if stored is None or not _is_readable(stored):
        return _fresh(names, lives, now, wish)
    ring = replace(stored, authorities=tuple(a for a in stored.authorities if expires(a) > now))
    if not ring.authorities:
        return _fresh(names, lives, now, wish)
    newest = ring.authorities[0]
    left = expires(ring.served.certificate) - now
    if is_signed_by(ring.served.certificate, newest):
        # One change at a time: what signs the served certificate is the newest, or the one before.
        if wish != ring.rotated or expires(newest) - now < lives.authority / 3:
            made = new_authority(now, lives.authority)
            kept = (made.certificate, *ring.authorities)[:MOST_AUTHORITIES]
            return replace(ring, authorities=kept, authority_key=made.key, rotated=wish)
        if left >= lives.certificate / 3 and is_for(ring.served.certificate, names):
            return ring
    elif not known_to_all and left > lives.certificate / 20:
        return ring  # the authority is new; it is waited for while there is time
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
