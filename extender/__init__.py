"""The scheduler extender: the HTTP service that kube-scheduler asks where a pod may go."""
