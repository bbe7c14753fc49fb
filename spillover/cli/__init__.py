"""The command `spillover` (no code yet)."""
