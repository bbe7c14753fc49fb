"""Instants as the API server writes them, `2026-01-01T12:00:00Z`, and as seconds since 1970."""

from datetime import UTC, datetime

AFTER_ALL = "9999-12-31T23:59:59Z"
"""Later than every instant that an API server writes, whatever its clock says. Instants are
compared as text."""


def seconds_of(text: str) -> float | None:
    """Seconds since 1970, or None if the text is not an instant with a time zone."""
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        return None
    return instant.timestamp() if instant.tzinfo is not None else None


def instant_of(seconds: float) -> str:
    """The instant as text, in UTC, rounded down to whole seconds."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
