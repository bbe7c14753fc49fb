"""An aggregated API server: a group of the Kubernetes API that this process serves.

The API server sends requests for the group on, after it has authorized them by RBAC. Source:
k8s.io/kube-aggregator; kubernetes.io, "Configure the Aggregation Layer".
"""
