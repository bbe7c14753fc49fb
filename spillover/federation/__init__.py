"""Reports unschedulable pods upward to Karmada or KubeAdmiral (no code yet)."""
