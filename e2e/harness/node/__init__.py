"""A cluster with one real node: kubelet, containerd and kube-proxy, in namespaces of their own."""
