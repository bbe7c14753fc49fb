"""Background tasks of the leader extender: takeover, nudges, status, annotations, Events."""
