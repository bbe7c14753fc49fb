"""The admission webhook (no code yet)."""
