"""What the webhook watches: policies, nodes and namespaces."""

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

import msgspec

from spillover.api import ack, vke
from spillover.api.kubernetes import NamespaceObject, NodeObject
from spillover.core.dialects import load
from spillover.core.matching import PolicyIndex
from spillover.core.nodes import Node, NodeIndex, node_from_wire
from spillover.core.policy import LoadedPolicy, PolicyKey, unreadable_policy
from spillover.kube.binding_keys import PolicyJudge, keys_reflector
from spillover.kube.reading import Unreadable
from spillover.kube.reflector import Reflector
from spillover.kube.session import ApiSession
from webhook.namespaces import Namespace, Namespaces, namespace_from_wire


class PolicySink:
    """Policies of one dialect."""

    def __init__(self, policies: PolicyIndex, judge: PolicyJudge, group: str) -> None:
        self._policies = policies
        self._judge = judge
        self._group = group
        judge.tell(group, policies.put)

    def put(self, item: LoadedPolicy) -> None:
        self._policies.put(self._judge.judged(item))

    def drop(self, item: LoadedPolicy) -> None:
        self._judge.forget(item.key)
        self._policies.drop(item.key)

    def keep(self, items: list[LoadedPolicy], version: int) -> None:  # noqa: ARG002 - a Sink's
        for key in set(self._policies.keys(self._group)) - {item.key for item in items}:
            self._judge.forget(key)
            self._policies.drop(key)

    def unreadable(self, found: Unreadable) -> LoadedPolicy:
        key = PolicyKey(self._group, found.identity.namespace, found.identity.name)
        before = self._policies.get(key)
        return unreadable_policy(found.identity, self._group, found.reason, before)


class NodeSink:
    def __init__(self, nodes: NodeIndex) -> None:
        self._nodes = nodes

    def put(self, item: Node) -> None:
        self._nodes.put(item)

    def drop(self, item: Node) -> None:
        self._nodes.drop(item.name)

    def keep(self, items: list[Node], version: int) -> None:  # noqa: ARG002 - a Sink's
        for name in self._nodes.names() - {item.name for item in items}:
            self._nodes.drop(name)

    def unreadable(self, found: Unreadable) -> None:
        self._nodes.drop(found.identity.name)


def reflectors(
    session: ApiSession,
    policies: PolicyIndex,
    nodes: NodeIndex,
    namespaces: Namespaces,
    judge: PolicyJudge,
    own_namespace: str,
    random: Random,
    clock: Callable[[], float],
) -> tuple[Reflector[Any], ...]:
    """Each keeps its part in step."""
    dialects = (
        Reflector(
            session,
            f"/apis/{dialect.GROUP}/{dialect.VERSION}/resourcepolicies",
            partial(_policy, group=dialect.GROUP),
            PolicySink(policies, judge, dialect.GROUP),
            random,
            clock,
        )
        for dialect in (ack, vke)
    )
    return (
        *dialects,
        Reflector(session, "/api/v1/nodes", _node, NodeSink(nodes), random, clock),
        Reflector(session, "/api/v1/namespaces", _namespace, namespaces, random, clock),
        keys_reflector(session, own_namespace, judge, random, clock),
    )


def _policy(raw: bytes | msgspec.Raw, group: str) -> LoadedPolicy:
    return load(msgspec.json.decode(raw, type=dict[str, Any]), group)


def _node(raw: bytes | msgspec.Raw) -> Node:
    return node_from_wire(msgspec.json.decode(raw, type=NodeObject))


def _namespace(raw: bytes | msgspec.Raw) -> Namespace:
    return namespace_from_wire(msgspec.json.decode(raw, type=NamespaceObject))
