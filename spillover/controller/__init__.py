"""Policy status, events and deletion cost, as tasks of the active extender (no code yet)."""
