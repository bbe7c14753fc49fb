"""Where things are."""

import os
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / "manifests" / "base"
MONITORING = ROOT / "manifests" / "overlays" / "monitoring"
TOOLS = ROOT / "e2e" / "tools"


TEST_PREFIX = "test-"
"""Begins the names of the clusters that tests start."""


def cache() -> Path:
    """Outside the checkout, shared by all checkouts."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).absolute() / "spillover"


def machine_lock(name: str) -> Path:
    """A lock file for what is one for the whole machine, whatever the cache folder: addresses and
    ports."""
    return Path(tempfile.gettempdir()) / f"spillover-{os.getuid()}-{name}.lock"


def clusters() -> Path:
    return cache() / "clusters"
