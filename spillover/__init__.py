"""Spillover: the ResourcePolicy of ACK and VKE for any Kubernetes cluster."""
