"""Pure decisions, and what they rest on: six packages, in the order of pyproject.toml. No I/O, no
clock, no chance."""
