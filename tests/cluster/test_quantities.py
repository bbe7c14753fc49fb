"""Our reading of quantities against Kubernetes' own."""

import json
import re
import subprocess
from collections.abc import Iterator
from decimal import Decimal
from random import Random

import pytest

from harness.build import quantities
from spillover.api.quantity import MOST, parse_quantity

SEED = 20261126
_SUFFIXES = ("", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_PIECES = (*"0123456789+-.eEinumkKMGTP", "Ki", "e3", "E-2", " ", "\u00a0", "x", "\u0663")


def written(chance: Random) -> Iterator[str]:
    """Quantities as people, programs and enemies write them."""
    while True:
        match chance.randrange(6):
            case 0:
                yield f"{chance.randrange(10 ** chance.randrange(1, 20))}{chance.choice(_SUFFIXES)}"
            case 1:
                whole, part = (digits(chance, 12) for _ in range(2))
                yield f"{chance.choice(('', '-', '+'))}{whole}.{part}{chance.choice(_SUFFIXES)}"
            case 2:
                sign = chance.choice(("", "-", "+", "0", "00", "-00"))
                yield f"{digits(chance, 25)}{chance.choice('eE')}{sign}{chance.randrange(60)}"
            case 3:
                yield "".join(chance.choice(_PIECES) for _ in range(chance.randrange(9)))
            case 4:
                long = "0" * chance.randrange(90) + digits(chance, 40)
                yield f"{long}.{digits(chance, 40)}{chance.choice(_SUFFIXES)}"
            case _:
                wrapped = chance.choice((2**32, 2**31, 2**63, 10**25))
                yield f"{digits(chance, 3)}e{wrapped + chance.randrange(-20, 20)}"


def digits(chance: Random, most: int) -> str:
    return "".join(chance.choice("0001234569") for _ in range(chance.randrange(most + 1)))


def is_ruinous(text: str) -> bool:
    """Kubernetes' own arithmetic would not end, or fill the memory: exponents that its 32 bits take
    for a thousand million below zero. Whoever asks an API server so has other worries."""
    match = re.search(r"[eE]([+-]?[0-9]{1,30})$", text)
    if match is None:
        return False
    number = match[1]
    wrapped = (int(number) + 2**31) % 2**32 - 2**31
    return abs(wrapped) > 1000


@pytest.mark.timeout(900)
def test_the_same_strings_are_accepted_with_the_same_value(*, full: bool) -> None:
    count = 1_000_000 if full else 50_000
    chance = Random(SEED)
    texts: list[str] = []
    for text in written(chance):
        if not is_ruinous(text):
            texts.append(text)
        if len(texts) == count:
            break
    asked = "".join(f"{json.dumps(text, ensure_ascii=False)}\n" for text in texts)
    answered = subprocess.run(
        [quantities().binary("quantities")],
        input=asked,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=600,
        check=True,
    ).stdout.splitlines()
    assert len(answered) == count
    refused = 0
    for text, answer in zip(texts, answered, strict=True):
        try:
            ours: Decimal | None = parse_quantity(text)
        except ValueError:
            ours = None
            refused += 1
        assert ours == value_of(answer), (text, answer)
    print(f"{count} strings, {refused} of them refused by both")
    assert count // 20 < refused < count // 2


def value_of(answer: str) -> Decimal | None:
    """Kubernetes' value, within our bounds."""
    if answer == "!":
        return None
    unscaled, scale = map(int, answer.split())
    if unscaled and len(str(abs(unscaled))) - scale > 20:
        return Decimal(MOST if unscaled > 0 else -MOST)
    value = Decimal(unscaled).scaleb(-scale)
    return max(Decimal(-MOST), min(Decimal(MOST), value))
