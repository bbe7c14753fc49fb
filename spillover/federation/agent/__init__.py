"""The agent of one member: it reads its cluster, reports to the hub, and keeps its limit there."""
