"""What the webhook watches: policies, nodes and namespaces."""

from collections.abc import Callable, Set
from functools import partial
from random import Random
from typing import Any, NamedTuple

import msgspec

from spillover.api import ack, vke
from spillover.api.kubernetes import NamespaceObject, NodeObject
from spillover.core.cache import crowds
from spillover.core.cache.policy_index import PolicyIndex
from spillover.core.dialects import load_unless_known
from spillover.core.model.nodes import Node, NodeIndex, node_from_wire
from spillover.core.model.policy import LoadedPolicy, PolicyKey, unreadable_policy
from spillover.kube.binding_keys import PolicyJudge, keys_reflector
from spillover.kube.reading import Unreadable
from spillover.kube.reflector import Reflector
from spillover.kube.session import ApiSession
from webhook.crowded import CrowdedNamespaces
from webhook.namespaces import Namespace, Namespaces, namespace_from_wire


class PolicyItem(NamedTuple):
    """A policy as the watch shows it."""

    policy: LoadedPolicy
    is_crowded: bool | None
    """Whether its status says that its namespace is crowded. None: not known."""


class PolicySink:
    """Sink for the policies of one dialect."""

    def __init__(
        self, policies: PolicyIndex, crowded: CrowdedNamespaces, judge: PolicyJudge, group: str
    ) -> None:
        self._policies = policies
        self._crowded = crowded
        self._judge = judge
        self._group = group
        judge.tell(group, policies.put)

    def put(self, item: PolicyItem) -> None:
        self._policies.put(self._judge.judged(item.policy))
        if item.is_crowded is not None:
            self._crowded.put(item.policy.key, says_so=item.is_crowded)

    def drop(self, item: PolicyItem) -> None:
        self._forget(item.policy.key)

    def key(self, item: PolicyItem) -> PolicyKey:
        return item.policy.key

    def keep(self, listed: Set[PolicyKey], version: int) -> None:  # noqa: ARG002 - a Sink's
        for key in set(self._policies.keys(self._group)) - listed:
            self._forget(key)

    def unreadable(self, found: Unreadable) -> PolicyItem:
        key = PolicyKey(self._group, found.identity.namespace, found.identity.name)
        before = self._policies.get(key)
        return PolicyItem(
            unreadable_policy(found.identity, self._group, found.reason, before), None
        )

    def _forget(self, key: PolicyKey) -> None:
        self._judge.forget(key)
        self._policies.drop(key)
        self._crowded.drop(key)


class NodeSink:
    def __init__(self, nodes: NodeIndex) -> None:
        self._nodes = nodes

    def put(self, item: Node) -> None:
        self._nodes.put(item)

    def drop(self, item: Node) -> None:
        self._nodes.drop(item.name)

    def key(self, item: Node) -> str:
        return item.name

    def keep(self, listed: Set[str], version: int) -> None:  # noqa: ARG002 - a Sink's
        for name in self._nodes.names() - listed:
            self._nodes.drop(name)

    def unreadable(self, found: Unreadable) -> None:
        self._nodes.drop(found.identity.name)


def reflectors(
    session: ApiSession,
    policies: PolicyIndex,
    nodes: NodeIndex,
    namespaces: Namespaces,
    crowded: CrowdedNamespaces,
    judge: PolicyJudge,
    own_namespace: str,
    random: Random,
    clock: Callable[[], float],
) -> tuple[Reflector[Any], ...]:
    """Each reflector keeps its part of the webhook's state up to date."""
    dialects = (
        Reflector(
            session,
            f"/apis/{dialect.GROUP}/{dialect.VERSION}/resourcepolicies",
            partial(_policy, group=dialect.GROUP, judge=judge),
            PolicySink(policies, crowded, judge, dialect.GROUP),
            random,
            clock,
            may_be_absent=True,
        )
        for dialect in (ack, vke)
    )
    return (
        *dialects,
        Reflector(session, "/api/v1/nodes", _node, NodeSink(nodes), random, clock),
        Reflector(session, "/api/v1/namespaces", _namespace, namespaces, random, clock),
        keys_reflector(session, own_namespace, judge, random, clock),
    )


def _policy(raw: bytes | msgspec.Raw, group: str, judge: PolicyJudge) -> PolicyItem:
    found = msgspec.json.decode(raw, type=dict[str, Any])
    return PolicyItem(
        load_unless_known(found, group, judge.known), crowds.told_by(found.get("status"))
    )


def _node(raw: bytes | msgspec.Raw) -> Node:
    return node_from_wire(msgspec.json.decode(raw, type=NodeObject))


def _namespace(raw: bytes | msgspec.Raw) -> Namespace:
    return namespace_from_wire(msgspec.json.decode(raw, type=NamespaceObject))
