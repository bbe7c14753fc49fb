"""Where things are."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / "manifests" / "base"
TOOLS = ROOT / "e2e" / "tools"


def cache() -> Path:
    """Outside the checkout, shared by all checkouts."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "spillover"


def clusters() -> Path:
    return cache() / "clusters"
