"""Checks of single fields, for both dialects. Each check yields errors with the field's path."""

import re
from collections.abc import Iterable, Iterator, Sized

from spillover.api.bounds import LONGEST_NAME, MOST_UNITS
from spillover.api.duration import parse_duration
from spillover.api.errors import FieldError
from spillover.api.quantity import parse_quantity

_RATIO = re.compile(r"[0-9]{1,3}(\.[0-9]{0,18})?|\.[0-9]{1,18}", re.ASCII)


def name_errors(path: str, name: str | None) -> Iterator[FieldError]:
    """A name must be short and printable: it is repeated for each refused node and printed on
    terminals."""
    if not name:
        yield FieldError(path, "is required")
    elif len(name) > LONGEST_NAME or not name.isprintable():
        yield FieldError(path, f"must be at most {LONGEST_NAME} characters, all of them printable")


def number_errors(path: str, units: Sized, what: str) -> Iterator[FieldError]:
    """A policy needs at least one unit. The number of units is limited to keep decisions fast."""
    if not units:
        yield FieldError(path, f"at least one {what} is required")
    if len(units) > MOST_UNITS:
        yield FieldError(path, f"{len(units)} are more than {MOST_UNITS}")


def limit_errors(path: str, limit: int | None) -> Iterator[FieldError]:
    if limit is not None and limit < 0:
        yield FieldError(path, f"must not be negative, is {limit}")


def choice(path: str, value: str | None, choices: Iterable[str]) -> Iterator[FieldError]:
    if value is not None and value not in choices:
        yield FieldError(path, f"{value!r} is not one of {', '.join(choices)}")


def required_choice(path: str, value: str | None, choices: Iterable[str]) -> Iterator[FieldError]:
    if value is None:
        yield FieldError(path, f"is required: one of {', '.join(choices)}")
    yield from choice(path, value, choices)


def quantity_errors(path: str, quantity: int | str) -> Iterator[FieldError]:
    try:
        if parse_quantity(quantity) < 0:
            yield FieldError(path, f"must not be negative, is {quantity}")
    except ValueError as error:
        yield FieldError(path, str(error))


def timeout_errors(path: str, timeout: str | None) -> Iterator[FieldError]:
    if timeout is None:
        return
    try:
        if parse_duration(timeout) < 0:
            yield FieldError(path, f"must not be negative, is {timeout}")
    except ValueError as error:
        yield FieldError(path, str(error))


def ratio_errors(path: str, ratio: str | None) -> Iterator[FieldError]:
    if ratio is None:
        return
    if not _RATIO.fullmatch(ratio):
        yield FieldError(path, f"{ratio[:40]!r} is not a number such as 0.1, from 0 to 999")
