"""Errors that name the field at fault."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class FieldError:
    """One thing that is wrong with an object: where (`spec.units[0].max`) and what."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


def field_path(parts: tuple[int | str, ...]) -> str:
    """('spec', 'units', 0, 'max') -> 'spec.units[0].max'."""
    path = ""
    for part in parts:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += f".{part}" if path else part
    return path
