"""Certificates: what is made, and that what is served is trusted at every step."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from certificates.keyring import MOST_AUTHORITIES, Keyring, Lives, next_keyring
from certificates.making import is_for, is_signed_by, split
from spillover.serving.certificates import Pair, expires

NAMES = ("webhook.ns.svc", "127.0.0.1")
LIVES = Lives(authority=timedelta(days=100), certificate=timedelta(days=9))
START = datetime(2026, 1, 1, tzinfo=UTC)


def step(
    stored: Keyring | None, days: float = 0, *, known: bool = False, wish: str = ""
) -> Keyring:
    now = START + timedelta(days=days)
    ring = next_keyring(stored, NAMES, LIVES, now, known_to_all=known, wish=wish)
    trusted(ring)
    return ring


def trusted(ring: Keyring) -> None:
    assert any(is_signed_by(ring.served.certificate, each) for each in ring.authorities)
    assert is_for(ring.served.certificate, NAMES)


def test_the_first_is_made_and_stays() -> None:
    ring = step(None)
    assert len(ring.authorities) == 1
    assert expires(ring.served.certificate) == START + LIVES.certificate
    assert step(ring, 1, known=True) == ring
    assert step(ring, 5.9) == ring


def test_a_certificate_is_renewed_with_a_third_of_its_life_left() -> None:
    ring = step(None)
    renewed = step(ring, 6.1)
    assert renewed.served != ring.served
    assert renewed.authorities == ring.authorities


def test_a_new_authority_signs_only_once_it_is_known_to_all() -> None:
    ring = step(step(None), 60)
    fresh = step(ring, 67)
    assert len(fresh.authorities) == 2
    assert fresh.served == ring.served
    assert step(fresh, 67) == fresh
    last = step(fresh, 67, known=True)
    assert is_signed_by(last.served.certificate, fresh.authorities[0])
    assert last.authorities == fresh.authorities


def test_an_expired_authority_is_dropped() -> None:
    ring = step(step(step(None), 67), 67, known=True)
    later = step(ring, 101)
    assert len(later.authorities) == 1


def test_a_wish_renews_both_once() -> None:
    ring = step(None)
    wished = step(ring, 1, wish="now")
    assert len(wished.authorities) == 2
    assert wished.rotated == "now"
    assert step(wished, 1, wish="now") == wished
    renewed = step(wished, 1, known=True, wish="now")
    assert renewed.served != ring.served
    for number in range(5):
        renewed = step(renewed, 1, wish=str(number))
        renewed = step(renewed, 1, known=True, wish=str(number))
    assert len(renewed.authorities) == MOST_AUTHORITIES


def test_wishes_in_quick_succession_are_granted_one_after_the_other() -> None:
    ring = step(None)
    for number in range(6):
        ring = step(ring, 1, wish=str(number))
    assert len(ring.authorities) == 2
    assert ring.rotated == "0"
    ring = step(ring, 1, known=True, wish="5")
    assert step(ring, 1, wish="5").rotated == "5"


def test_a_new_authority_is_not_waited_for_until_the_certificate_expires() -> None:
    ring = step(step(None), 1, wish="now")
    assert step(ring, 8) == ring
    assert is_signed_by(step(ring, 8.9).served.certificate, ring.authorities[0])


def test_a_key_that_is_not_the_certificates_is_made_anew() -> None:
    ring, other = step(None), step(None)
    mixed = Pair(ring.served.certificate, other.served.key)
    assert len(step(replace(ring, served=mixed)).authorities) == 1


def test_other_names_are_another_certificate() -> None:
    ring = next_keyring(None, ["old.ns.svc"], LIVES, START, known_to_all=False)
    assert is_for(step(ring).served.certificate, NAMES)


@pytest.mark.parametrize(
    "broken", [{"served": Pair(b"x", b"y")}, {"authorities": (b"x",)}, {"authorities": ()}]
)
def test_what_cannot_be_read_is_made_anew(broken: dict[str, object]) -> None:
    ring = replace(step(None), **broken)  # type: ignore[arg-type]
    assert len(step(ring).authorities) == 1


def test_a_certificate_of_no_stored_authority_is_made_anew() -> None:
    stranger = step(None)
    trusted(step(replace(step(None), served=stranger.served)))


def test_a_bundle_is_split_as_it_was_put_together() -> None:
    ring = step(step(None), 1, wish="now")
    assert tuple(split(ring.bundle)) == ring.authorities
    assert split(b"") == []
