"""The command `spillover`."""
