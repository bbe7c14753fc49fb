"""Tasks of the active extender beside its answers: nudges; later policy status, events, costs."""
