"""A fleet in the tests: a hub, member clusters, and a stand-in for KubeAdmiral."""
