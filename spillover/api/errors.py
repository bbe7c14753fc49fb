"""Errors that name the field at fault."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class FieldError:
    """One error in an object."""

    path: str
    """The field, such as `spec.units[0].max`."""
    message: str

    def __str__(self) -> str:
        return harmless(f"{self.path}: {self.message}")


def harmless(text: str) -> str:
    """Returns the text without characters that control a terminal: they are written out, such as
    an escape as \\x1b. Line breaks stay."""
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
