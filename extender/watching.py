"""What the extender watches, and how it gets into the cache."""

import logging
from random import Random
from typing import Any

from spillover.api import ack, vke
from spillover.api.kubernetes import NodeObject, PodObject
from spillover.core.cache import SchedulingCache
from spillover.core.dialects import load
from spillover.core.nodes import node_from_wire
from spillover.core.pods import pod_from_wire
from spillover.core.policy import InvalidPolicy, LoadedPolicy, PolicyKey
from spillover.kube.reflector import Reflector
from spillover.kube.session import ApiSession

_log = logging.getLogger(__name__)


class PodSink:
    def __init__(self, cache: SchedulingCache) -> None:
        self._cache = cache

    def put(self, item: PodObject) -> None:
        self._cache.put_pod(pod_from_wire(item))

    def drop(self, item: PodObject) -> None:
        self._cache.drop_pod(item.metadata.uid, int(item.metadata.resource_version))

    def keep(self, items: list[PodObject], version: int) -> None:
        self._cache.keep_pods({item.metadata.uid for item in items}, version)


class NodeSink:
    def __init__(self, cache: SchedulingCache) -> None:
        self._cache = cache

    def put(self, item: NodeObject) -> None:
        self._cache.put_node(node_from_wire(item))

    def drop(self, item: NodeObject) -> None:
        self._cache.drop_node(item.metadata.name)

    def keep(self, items: list[NodeObject], version: int) -> None:  # noqa: ARG002 - a Sink's
        self._cache.keep_nodes({item.metadata.name for item in items})


class PolicySink:
    """Policies of one dialect. Says once of each policy what is wrong or not acted on yet."""

    def __init__(self, cache: SchedulingCache, group: str) -> None:
        self._cache = cache
        self._group = group
        self._said: dict[PolicyKey, tuple[str, ...]] = {}

    def put(self, item: dict[str, Any]) -> None:
        policy = load(item, self._group)
        self._cache.put_policy(policy)
        self._say(policy)

    def drop(self, item: dict[str, Any]) -> None:
        key = load(item, self._group).key
        self._said.pop(key, None)
        self._cache.drop_policy(key)

    def keep(self, items: list[dict[str, Any]], version: int) -> None:  # noqa: ARG002 - a Sink's
        listed = {load(item, self._group).key for item in items}
        for key in self._said.keys() - listed:
            del self._said[key]
        self._cache.keep_policies(self._group, listed)

    def _say(self, policy: LoadedPolicy) -> None:
        invalid = isinstance(policy, InvalidPolicy)
        remarks = (
            tuple(map(str, policy.errors)) if isinstance(policy, InvalidPolicy) else policy.deferred
        )
        if not remarks or self._said.get(policy.key) == remarks:
            return
        self._said[policy.key] = remarks
        where = {"policy": str(policy.key), "namespace": policy.key.namespace, "fields": remarks}
        if invalid:
            _log.error("policy is invalid: its pods stay Pending", extra=where)
        else:
            _log.warning("policy uses fields that this version does not act on", extra=where)


def reflectors(
    session: ApiSession, cache: SchedulingCache, random: Random
) -> tuple[Reflector[Any], ...]:
    """Policies, nodes and pods: each reflector keeps its part of the cache in step."""
    policies = (
        Reflector(
            session,
            f"/apis/{dialect.GROUP}/{dialect.VERSION}/resourcepolicies",
            dict[str, Any],
            PolicySink(cache, dialect.GROUP),
            random,
        )
        for dialect in (ack, vke)
    )
    return (
        *policies,
        Reflector(session, "/api/v1/nodes", NodeObject, NodeSink(cache), random),
        Reflector(session, "/api/v1/pods", PodObject, PodSink(cache), random),
    )
