"""Errors that name the field at fault."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class FieldError:
    """One thing that is wrong with an object: where (`spec.units[0].max`) and what."""

    path: str
    message: str

    def __str__(self) -> str:
        return harmless(f"{self.path}: {self.message}")


def harmless(text: str) -> str:
    """The text, with what a terminal would act upon written out: an escape as \\x1b. Line breaks
    stay."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each == "\n" else each.encode("unicode_escape").decode()
        for each in text
    )


def field_path(parts: tuple[int | str, ...]) -> str:
    """('spec', 'units', 0, 'max') -> 'spec.units[0].max'."""
    path = ""
    for part in parts:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += f".{part}" if path else part
    return path
