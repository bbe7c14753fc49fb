"""The watches that decisions depend on, and the sinks that put the objects into the cache."""

import logging
from collections.abc import Callable, Mapping, Sequence, Set
from functools import partial
from random import Random
from typing import Any, NamedTuple, Protocol

import msgspec

from spillover.api import ack, vke
from spillover.api.kubernetes import (
    NamespaceObject,
    NodeObject,
    WorkloadObject,
    parse_version,
)
from spillover.core.cache.cluster import ClusterCache
from spillover.core.dialects import load_unless_known
from spillover.core.model.nodes import Node, node_from_wire
from spillover.core.model.pods import Pod
from spillover.core.model.policy import InvalidPolicy, LoadedPolicy, PolicyKey, unreadable_policy
from spillover.core.model.workloads import WORKLOAD_KINDS, Workload, workload_from_wire
from spillover.kube.binding_keys import PolicyJudge, keys_reflector
from spillover.kube.reading import Unreadable, pod_of
from spillover.kube.reflector import Reflector
from spillover.kube.session import ApiSession

_NODES = msgspec.json.Decoder(NodeObject)
_NAMESPACES = msgspec.json.Decoder(NamespaceObject)
_WORKLOADS = msgspec.json.Decoder(WorkloadObject)

_log = logging.getLogger(__name__)


class StatusView(Protocol):
    """Who wants to know the statuses of policies."""

    def see(self, key: PolicyKey, version: int, status: Mapping[str, Any]) -> bool:
        """The status of the object at this version. Returns whether it has changed."""

    def forget(self, key: PolicyKey) -> None: ...


class PodSink:
    def __init__(self, cache: ClusterCache) -> None:
        self._cache = cache

    def put(self, item: Pod) -> None:
        self._cache.put_pod(item)

    def drop(self, item: Pod) -> None:
        self._cache.drop_pod(item.uid, item.version)

    def key(self, item: Pod) -> str:
        return item.uid

    def keep(self, listed: Set[str], version: int) -> None:
        self._cache.keep_pods(listed, version)

    def unreadable(self, found: Unreadable) -> Pod:
        return self._cache.unreadable_pod(found.identity, found.reason)


class NodeSink:
    def __init__(self, cache: ClusterCache) -> None:
        self._cache = cache

    def put(self, item: Node) -> None:
        self._cache.put_node(item)

    def drop(self, item: Node) -> None:
        self._cache.drop_node(item.name)

    def key(self, item: Node) -> str:
        return item.name

    def keep(self, listed: Set[str], version: int) -> None:  # noqa: ARG002 - a Sink's
        self._cache.keep_nodes(listed)

    def unreadable(self, found: Unreadable) -> None:
        self._cache.drop_node(found.identity.name)


class PolicyItem(NamedTuple):
    """A policy as the watch shows it."""

    policy: LoadedPolicy
    version: int
    """The resourceVersion of the object."""
    status: Mapping[str, Any]
    """The status of the object at this version."""


class PolicySink:
    """Sink for the policies of one dialect. Logs the errors of an invalid policy once."""

    def __init__(
        self, cache: ClusterCache, statuses: StatusView, judge: PolicyJudge, group: str
    ) -> None:
        self._cache = cache
        self._judge = judge
        judge.tell(group, self._judged_anew)
        self._statuses = statuses
        self._group = group
        self._said: dict[PolicyKey, tuple[str, ...]] = {}

    def put(self, item: PolicyItem) -> None:
        policy = item.policy
        if self._statuses.see(policy.key, item.version, item.status):
            self._cache.dirty.policy(policy.key)
        self._take(self._judge.judged(policy))

    def _judged_anew(self, policy: LoadedPolicy) -> None:
        self._take(policy)
        self._cache.dirty.policy(policy.key)

    def _take(self, policy: LoadedPolicy) -> None:
        self._cache.put_policy(policy)
        self._say(policy)

    def drop(self, item: PolicyItem) -> None:
        self._forget(item.policy.key)
        self._cache.drop_policy(item.policy.key)

    def key(self, item: PolicyItem) -> PolicyKey:
        return item.policy.key

    def keep(self, listed: Set[PolicyKey], version: int) -> None:  # noqa: ARG002 - a Sink's
        known = {
            *self._cache.policies.keys(self._group),
            *self._cache.edits.pending_keys(self._group),
        }
        for key in known - listed:
            self._forget(key)
        self._cache.keep_policies(self._group, listed)

    def unreadable(self, found: Unreadable) -> PolicyItem:
        key = PolicyKey(self._group, found.identity.namespace, found.identity.name)
        before = self._cache.edits.pending(key) or self._cache.policies.get(key)
        policy = unreadable_policy(found.identity, self._group, found.reason, before)
        return PolicyItem(policy, found.identity.version, {})

    def _forget(self, key: PolicyKey) -> None:
        self._said.pop(key, None)
        self._statuses.forget(key)
        self._judge.forget(key)

    def _say(self, policy: LoadedPolicy) -> None:
        if not isinstance(policy, InvalidPolicy):
            self._said.pop(policy.key, None)
            return
        remarks = tuple(map(str, policy.errors))
        if self._said.get(policy.key) == remarks:
            return
        self._said[policy.key] = remarks
        where = {"policy": str(policy.key), "namespace": policy.key.namespace, "fields": remarks}
        _log.error("policy is invalid: its pods stay Pending", extra=where)


class NamespaceSink:
    """Sink for namespaces. A namespace's labels decide whether its pods may ask for serverless
    capacity by their own labels."""

    def __init__(self, cache: ClusterCache) -> None:
        self._cache = cache

    def put(self, item: NamespaceObject) -> None:
        self._cache.put_namespace(item.metadata.name, item.metadata.labels or {})

    def drop(self, item: NamespaceObject) -> None:
        self._cache.put_namespace(item.metadata.name, {})

    def key(self, item: NamespaceObject) -> str:
        return item.metadata.name

    def keep(self, listed: Set[str], version: int) -> None:  # noqa: ARG002 - a Sink's
        self._cache.keep_namespaces(listed)

    def unreadable(self, found: Unreadable) -> None:
        self._cache.put_namespace(found.identity.name, {})


class WorkloadSink:
    """Sink for the workloads of one kind."""

    def __init__(self, cache: ClusterCache, kind: str) -> None:
        self._cache = cache
        self._kind = kind

    def put(self, item: Workload) -> None:
        self._cache.put_workload(item)

    def drop(self, item: Workload) -> None:
        self._cache.drop_workload(item.uid)

    def key(self, item: Workload) -> str:
        return item.uid

    def keep(self, listed: Set[str], version: int) -> None:  # noqa: ARG002 - a Sink's
        self._cache.keep_workloads(self._kind, listed)

    def unreadable(self, found: Unreadable) -> None:
        self._cache.drop_workload(found.identity.uid)


def reflectors(
    session: ApiSession,
    cache: ClusterCache,
    statuses: StatusView,
    namespace: str,
    random: Random,
    clock: Callable[[], float],
    *,
    with_namespaces: bool = False,
) -> tuple[Reflector[Any], ...]:
    """Returns the reflectors of policies, nodes, workloads, pods, binding keys and, if decisions
    depend on them (`with_namespaces`), namespaces. Each reflector keeps its part of the cache up to
    date. `namespace` is Spillover's own namespace."""
    judge = PolicyJudge()
    policies = tuple(
        Reflector(
            session,
            f"/apis/{dialect.GROUP}/{dialect.VERSION}/resourcepolicies",
            partial(_policy, group=dialect.GROUP, judge=judge),
            PolicySink(cache, statuses, judge, dialect.GROUP),
            random,
            clock,
            may_be_absent=True,
        )
        for dialect in (ack, vke)
    )
    workloads = (
        Reflector(
            session,
            f"/apis/apps/v1/{kind}",
            partial(_workload, kind=kind),
            WorkloadSink(cache, kind),
            random,
            clock,
        )
        for kind in WORKLOAD_KINDS
    )
    namespaces = (
        Reflector(session, "/api/v1/namespaces", _namespace, NamespaceSink(cache), random, clock)
        for _ in range(with_namespaces)
    )
    nodes = Reflector(session, "/api/v1/nodes", _node, NodeSink(cache), random, clock)
    # A pod counts by its node and its policies: if these come later, it is counted again for each.
    pods = Reflector(
        session, "/api/v1/pods", pod_of, PodSink(cache), random, clock, after=(nodes, *policies)
    )
    return (
        *policies,
        *workloads,
        *namespaces,
        nodes,
        pods,
        keys_reflector(session, namespace, judge, random, clock),
    )


def policy_watches(watches: Sequence[Reflector[Any]]) -> list[Reflector[Any]]:
    """Returns the watches of the policies of both dialects."""
    return [watch for watch in watches if watch.path.endswith("/resourcepolicies")]


def _policy(raw: bytes | msgspec.Raw, group: str, judge: PolicyJudge) -> PolicyItem:
    found = msgspec.json.decode(raw, type=dict[str, Any])
    status = found.get("status")
    return PolicyItem(
        load_unless_known(found, group, judge.known),
        parse_version(found["metadata"]["resourceVersion"]),
        status if isinstance(status, dict) else {},
    )


def _workload(raw: bytes | msgspec.Raw, kind: str) -> Workload:
    return workload_from_wire(_WORKLOADS.decode(raw), kind)


def _namespace(raw: bytes | msgspec.Raw) -> NamespaceObject:
    return _NAMESPACES.decode(raw)


def _node(raw: bytes | msgspec.Raw) -> Node:
    return node_from_wire(_NODES.decode(raw))
