"""The model of the cluster: policies, pods, nodes, workloads, and their parts."""
