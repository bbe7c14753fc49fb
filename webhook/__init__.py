"""The admission webhook for pods, policies and workloads."""
