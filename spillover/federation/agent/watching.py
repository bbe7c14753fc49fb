"""The watches of the agent: its own cluster, and the objects of the hub."""

import logging
from collections.abc import Callable, Mapping, Set
from functools import partial
from math import inf
from random import Random
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from spillover.api import ack, vke
from spillover.api.kubernetes import NodeCapacity, ObjectMeta
from spillover.controller.watching import reflectors
from spillover.core.model.policy import PolicyKey
from spillover.core.reporting.fit import Capacity, capacity_of
from spillover.federation.agent.hub import HubView, Source, is_placed_in, source
from spillover.federation.agent.leases import AgentLease, agent_lease
from spillover.federation.agent.view import MemberView
from spillover.federation.deployments import deployed
from spillover.federation.kubeadmiral import GROUP, MANAGED_LABEL, POLICY_LABEL, propagation
from spillover.federation.member import Deployed
from spillover.federation.memberreport import PATH, from_wire
from spillover.federation.room import GROWS_TO_ANNOTATION, grows_to
from spillover.kube.reading import Unreadable
from spillover.kube.reflector import Limits, Reflector
from spillover.kube.session import ApiSession

_log = logging.getLogger(__name__)

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")


_LEASE_SILENCE_SECONDS = 15.0
"""Our own Lease changes every five seconds."""


class _Meta(msgspec.Struct, frozen=True):
    metadata: ObjectMeta


class Growth(NamedTuple):
    """What a policy declares. Empty where the annotation is not valid."""

    policy: PolicyKey
    units: Mapping[str, float]


class NoStatuses:
    """The agent does not read the statuses of policies."""

    def see(self, key: PolicyKey, version: int, status: Mapping[str, Any]) -> bool:  # noqa: ARG002 - a StatusView's
        return False

    def forget(self, key: PolicyKey) -> None: ...


class DictSink(Generic[T, K, V]):
    """Keeps `found` in step with one collection. `entry` gives an item's key and value. An object
    that does not decode counts as absent. `changed` is called for every change."""

    def __init__(
        self,
        found: dict[K, V],
        entry: Callable[[T], tuple[K, V]],
        key_of: Callable[[Unreadable], K],
        changed: Callable[[], None],
        is_own: Callable[[K], bool] = lambda _: True,
    ) -> None:
        self._found = found
        self._entry = entry
        self._key_of = key_of
        self._changed = changed
        self._is_own = is_own

    def put(self, item: T) -> None:
        key, value = self._entry(item)
        if self._found.get(key) != value:
            self._found[key] = value
            self._changed()

    def drop(self, item: T) -> None:
        self._forget(self._entry(item)[0])

    def key(self, item: T) -> K:
        return self._entry(item)[0]

    def keep(self, listed: Set[K], version: int) -> None:  # noqa: ARG002 - a Sink's
        for key in [each for each in self._found if each not in listed and self._is_own(each)]:
            self._forget(key)

    def unreadable(self, found: Unreadable) -> T | None:
        self._forget(self._key_of(found))
        return None

    def _forget(self, key: K) -> None:
        if self._found.pop(key, None) is not None:
            self._changed()


def _watch(
    session: ApiSession,
    random: Random,
    clock: Callable[[], float],
    path: str,
    decode: Any,  # noqa: ANN401 - of any object
    sink: Any,  # noqa: ANN401
    **options: Any,  # noqa: ANN401
) -> Reflector[Any]:
    return Reflector(session, path, decode, sink, random, clock, **options)


def member_watches(
    session: ApiSession,
    view: MemberView,
    namespace: str,
    random: Random,
    clock: Callable[[], float],
) -> tuple[Reflector[Any], ...]:
    """The watches of the member's API server. `namespace` is Spillover's own there."""

    watch = partial(_watch, session, random, clock)
    return (
        *reflectors(session, view.cluster, NoStatuses(), namespace, random, clock),
        watch(
            "/api/v1/nodes",
            _capacity,
            DictSink[Capacity, str, Capacity](
                view.capacities, lambda each: (each.name, each), _name_of, view.changed
            ),
        ),
        watch(
            "/apis/apps/v1/deployments",
            deployed,
            DictSink[Deployed, str, Deployed](
                view.deployments,
                lambda each: (each.uid, each),
                lambda it: it.identity.uid,
                view.changed,
            ),
            select={"labelSelector": f"{MANAGED_LABEL}=true"},
        ),
        *(
            watch(
                f"/apis/{dialect.GROUP}/{dialect.VERSION}/resourcepolicies",
                partial(_growth, group=dialect.GROUP),
                DictSink[Growth, PolicyKey, Mapping[str, float]](
                    view.growth,
                    lambda each: each,
                    partial(_policy_key, group=dialect.GROUP),
                    view.changed,
                    partial(_is_of, group=dialect.GROUP),
                ),
                may_be_absent=True,
            )
            for dialect in (ack, vke)
        ),
    )


def hub_watches(
    session: ApiSession,
    view: HubView,
    templates: dict[str, Deployed],
    changed: Callable[[], None],
    namespace: str,
    random: Random,
    clock: Callable[[], float],
) -> tuple[Reflector[Any], ...]:
    """The watches of the hub. `templates` are filled with its workloads. `namespace` is where the
    agents' Leases are."""

    watch = partial(_watch, session, random, clock)
    return (
        watch(
            "/apis/apps/v1/deployments",
            source,
            DictSink[Source, str, Source](
                view.sources, lambda each: (each.key, each), _key_of, changed
            ),
            select={"labelSelector": POLICY_LABEL},
        ),
        watch(
            "/apis/apps/v1/deployments",
            deployed,
            DictSink[Deployed, str, Deployed](
                templates, lambda each: (each.key, each), _key_of, changed
            ),
            select={"labelSelector": POLICY_LABEL},
        ),
        watch(
            f"/apis/{GROUP}/v1alpha1/propagationpolicies",
            propagation,
            DictSink(
                view.policies,
                lambda each: (f"{each.namespace}/{each.name}", each),
                _key_of,
                changed,
            ),
        ),
        watch(
            PATH,
            from_wire,
            DictSink(view.reports, lambda each: (each.member, each), _name_of, changed),
        ),
        watch(
            f"/apis/{GROUP}/v1alpha1/federatedclusters",
            is_placed_in,
            ClusterSink(view, clock),
        ),
        watch(
            f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases",
            agent_lease,
            LeaseSink(view, clock),
            limits=Limits(silence=_LEASE_SILENCE_SECONDS, longest_wait=1.0),
        ),
    )


class ClusterSink:
    """Notes since when the engine places pods in each cluster, or does not."""

    def __init__(self, view: HubView, clock: Callable[[], float]) -> None:
        self._clusters = view.clusters
        self._clock = clock

    def put(self, item: tuple[str, bool]) -> None:
        name, is_placed = item
        known = self._clusters.get(name)
        if known is None:
            # It may have been so for long.
            self._clusters[name] = (is_placed, -inf)
        elif known[0] != is_placed:
            self._clusters[name] = (is_placed, self._clock())

    def drop(self, item: tuple[str, bool]) -> None:
        self._clusters.pop(item[0], None)

    def key(self, item: tuple[str, bool]) -> str:
        return item[0]

    def keep(self, listed: Set[str], version: int) -> None:  # noqa: ARG002 - a Sink's
        for name in self._clusters.keys() - listed:
            del self._clusters[name]

    def unreadable(self, found: Unreadable) -> None:
        self._clusters.pop(found.identity.name, None)


class LeaseSink:
    """Notes when each agent's Lease was last seen to change, by our own clock."""

    def __init__(self, view: HubView, clock: Callable[[], float]) -> None:
        self._view = view
        self._clock = clock

    def put(self, item: AgentLease) -> None:
        self._view.leases.see(item, self._clock())

    def drop(self, item: AgentLease) -> None:
        self._view.leases.forget(item.member)

    def key(self, item: AgentLease) -> str:
        return item.member

    def keep(self, listed: Set[str], version: int) -> None:  # noqa: ARG002 - a Sink's
        self._view.leases.keep(listed)

    def unreadable(self, found: Unreadable) -> None: ...


def _capacity(raw: bytes | msgspec.Raw) -> Capacity:
    metadata = msgspec.json.decode(raw, type=_Meta).metadata
    return capacity_of(
        metadata.name, metadata.labels or {}, msgspec.json.decode(raw, type=NodeCapacity)
    )


def _growth(raw: bytes | msgspec.Raw, group: str) -> Growth:
    metadata = msgspec.json.decode(raw, type=_Meta).metadata
    key = PolicyKey(group, metadata.namespace, metadata.name)
    try:
        return Growth(key, grows_to((metadata.annotations or {}).get(GROWS_TO_ANNOTATION, "")))
    except ValueError as error:
        where = {"namespace": key.namespace, "policy": str(key), "reason": str(error)}
        _log.error("the declared sizes of units are not read", extra=where)
        return Growth(key, {})


def _is_of(key: PolicyKey, group: str) -> bool:
    return key.group == group


def _policy_key(found: Unreadable, group: str) -> PolicyKey:
    return PolicyKey(group, found.identity.namespace, found.identity.name)


def _name_of(found: Unreadable) -> str:
    return found.identity.name


def _key_of(found: Unreadable) -> str:
    return f"{found.identity.namespace}/{found.identity.name}"
