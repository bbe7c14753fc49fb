"""The vendor's tables: where the pods of a fleet are, for each number of replicas."""

Table = tuple[tuple[str, int, int, tuple[str, ...]], ...]
"""What a step is called, its replicas, the virtual units' maximum in both VKE clusters, and the
states that follow each other, in the words of `states.py`."""

WEIGHTS: Table = (
    ("10", 10, 2, ("2/2/0 2/2/0 2/0/0",)),
    ("15", 15, 2, ("2/2/2 2/2/2 2/1/0",)),
    ("20", 20, 2, ("2/2/2+2 2/2/2+2 2/2/0", "2/2/2+2 2/2/2+2 2/2/4")),
    ("20, max 4", 20, 4, ("2/4/2 2/4/2 2/2/0",)),
    ("10 again", 10, 4, ("2/2/0 2/2/0 2/0/0",)),
)
PRIORITIES: Table = (
    ("10", 10, 2, ("2/2/2 2/0/0 2/0/0",)),
    ("14", 14, 2, ("2/2/2+4 2/0/0 2/0/0", "2/2/2+4 2/2/2 2/0/0")),
    ("20", 20, 2, ("2/2/2+10 2/2/2+6 2/0/0", "2/2/2+10 2/2/2+6 2/2/4")),
    ("20, max 4", 20, 4, ("2/4/2+8 2/4/2+2 2/2/0",)),
    ("10 again", 10, 4, ("2/4/0 2/0/0 2/0/0",)),
)
