"""Instants as the API server writes them, `2026-01-01T12:00:00Z`, and as seconds since 1970."""

from datetime import UTC, datetime

AFTER_ALL = "9999-12-31T23:59:59Z"
"""Later than every instant that an API server writes, whatever the clocks. Instants are compared as
texts."""


def seconds_of(text: str) -> float | None:
    """None for what is no instant with a time zone."""
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        return None
    return instant.timestamp() if instant.tzinfo is not None else None


def instant_of(seconds: float) -> str:
    """To whole seconds, rounded down, in UTC."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
