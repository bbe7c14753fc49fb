"""Reads once the part of a cluster that the caller may read, and fills the cache for decisions."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import msgspec

from spillover.api import ack, vke
from spillover.api.kubernetes import (
    ConstrainedPod,
    NamespaceObject,
    NodeCapacity,
    NodeObject,
    WorkloadObject,
)
from spillover.core.admission.binding_keys import ALL, CONFIG_MAP, NONE, BindingKeys
from spillover.core.cache.cluster import ClusterCache
from spillover.core.dialects import load
from spillover.core.model.conventions import NodeConventions
from spillover.core.model.nodes import Node, node_from_wire
from spillover.core.model.pods import CROWD_GATE, Pod
from spillover.core.model.policy import LoadedPolicy, unreadable_policy
from spillover.core.model.workloads import WORKLOAD_KINDS, Workload, workload_from_wire
from spillover.core.reporting.fit import (
    NOT_USED,
    Capacity,
    Ports,
    Use,
    capacity_of,
    host_ports,
    in_use,
    misfit,
)
from spillover.kube.binding_keys import binding_keys
from spillover.kube.listing import list_all
from spillover.kube.reading import Unreadable, pod_of
from spillover.kube.session import ApiError, ApiSession

T = TypeVar("T")

_BINDING_KEYS = f"/api/v1/namespaces/spillover-system/configmaps/{CONFIG_MAP}"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The part of a cluster that the caller may read, for the explanations of one namespace."""

    cache: ClusterCache
    """Contains all objects that were read."""
    pods: tuple[Pod, ...]
    """The pods of the namespace that decode."""
    used: Mapping[str, Use] | None
    """What the pods of all namespaces take of each node, or None if the caller may not list them.
    """
    nodes: tuple[Capacity, ...]
    constraints: dict[str, ConstrainedPod]
    """For the pods of the namespace, by uid."""
    unseen: tuple[str, ...]
    """Remarks: what the caller may not read and what that means for the explanation, and which
    objects do not decode."""

    def pod(self, name: str) -> Pod | None:
        return next((pod for pod in self.pods if pod.name == name), None)

    def hindrances(self, pod: Pod, schedulers: Collection[str]) -> list[str]:
        """The reasons why the scheduler does not try the pod, even if there is room."""
        found = []
        if pod.terminating:
            found.append("it is being deleted")
        gates = self.constraints[pod.uid].spec.scheduling_gates or ()
        if names := ", ".join(gate.name for gate in gates if gate.name != CROWD_GATE):
            found.append(f"its scheduling gates hold it back: {names}")
        if pod.has_crowd_gate:
            found.append(
                f"its gate {CROWD_GATE} is taken away when there is room: many pods of its"
                " namespace wait"
            )
        if pod.scheduler not in schedulers:
            found.append(f"its schedulerName is {pod.scheduler}, which does not ask Spillover")
        return found

    def misfits(self, pod: Pod) -> dict[str, str | None]:
        """For each node: why the scheduler's own plugins will reject it for the pod, or None."""
        used = self.used
        return {
            node.name: misfit(
                pod,
                self.constraints[pod.uid],
                node,
                used.get(node.name, NOT_USED) if used is not None else None,
            )
            for node in self.nodes
        }


async def take(
    session: ApiSession, namespace: str, conventions: NodeConventions, now: float
) -> Snapshot:
    """Reads policies, pods and workloads of a namespace, and the nodes and pods of the cluster that
    the caller may read. Raises ApiError if the caller may not even read the namespace."""
    cache = ClusterCache(conventions, lambda: now, lambda: now, lambda: 0.0)
    unseen: list[str] = []
    scope = f"namespaces/{namespace}"
    unreadable: list[Unreadable] = []

    def remark_on(kind: str) -> Callable[[Unreadable], None]:
        return lambda found: unseen.append(
            f"{kind} {found.identity.name} cannot be read: {found.reason}"
        )

    pods = await list_all(session, f"/api/v1/{scope}/pods", _pod, unreadable=unreadable.append)
    keys = await _binding_keys(session, unseen)
    for dialect in (ack, vke):
        for policy in await _policies(session, scope, dialect.GROUP, dialect.VERSION):
            cache.put_policy(keys.judged(policy))
    if conventions.serverless_namespaces is not None:
        remark = "the namespace's labels: whether they let pods ask for virtual nodes is not known"
        labels = await _allowed(_labels_of(session, scope), unseen, remark)
        cache.put_namespace(namespace, labels or {})
    for kind in WORKLOAD_KINDS:
        remark = f"{kind}: maxReplicasRatio may be taken of too few replicas"
        read = list_all(
            session,
            f"/apis/apps/v1/{scope}/{kind}",
            partial(_workload, kind),
            unreadable=remark_on(kind),
        )
        for workload in await _allowed(read, unseen, remark) or ():
            cache.put_workload(workload)
    remark = "nodes: which ones a unit has, and whether pods fit on them, is not known"
    read_nodes = list_all(session, "/api/v1/nodes", _node, unreadable=remark_on("node"))
    nodes = await _allowed(read_nodes, unseen, remark) or []
    for node, _ in nodes:
        cache.put_node(node)
    remark = "pods of other namespaces: what is free on nodes is not known, and not looked at"
    read_all = list_all(session, "/api/v1/pods", _pod_with_ports)
    everywhere = await _allowed(read_all, unseen, remark)
    for pod, _ in everywhere if everywhere is not None else pods:
        cache.put_pod(pod)
    for found in unreadable:  # pods that do not decode keep their slots
        remark_on("pod")(found)
        cache.put_pod(cache.unreadable_pod(found.identity, found.reason))
    cache.resume_nominations()
    return Snapshot(
        cache=cache,
        pods=tuple(pod for pod, _ in pods),
        used=in_use(everywhere) if everywhere is not None else None,
        nodes=tuple(capacity for _, capacity in nodes),
        constraints={pod.uid: constraints for pod, constraints in pods},
        unseen=tuple(unseen),
    )


async def _labels_of(session: ApiSession, scope: str) -> dict[str, str]:
    raw = await session.request("GET", f"/api/v1/{scope}")
    return msgspec.json.decode(raw, type=NamespaceObject).metadata.labels or {}


async def _binding_keys(session: ApiSession, unseen: list[str]) -> BindingKeys:
    """Reads the binding keys. Every authenticated user may read them."""
    try:
        return binding_keys(await session.request("GET", _BINDING_KEYS))
    except ApiError as error:
        if error.status == 404:
            return NONE
        if error.status != 403:
            raise
        unseen.append(f"{_BINDING_KEYS} cannot be read: which keys policies may write is not known")
    except (msgspec.MsgspecError, ValueError) as error:
        unseen.append(f"{_BINDING_KEYS}: {error}")
    return ALL


async def _policies(
    session: ApiSession, scope: str, group: str, version: str
) -> list[LoadedPolicy]:
    """Reads the policies of one dialect. Empty if its CRD is not installed."""
    unreadable: list[Unreadable] = []
    try:
        read = await list_all(
            session,
            f"/apis/{group}/{version}/{scope}/resourcepolicies",
            lambda raw: load(msgspec.json.decode(raw, type=dict[str, Any]), group),
            unreadable=unreadable.append,
        )
        return [
            *read,
            *(unreadable_policy(each.identity, group, each.reason, None) for each in unreadable),
        ]
    except ApiError as error:
        if error.status == 404:
            return []
        raise


async def _allowed(reading: Awaitable[T], unseen: list[str], what: str) -> T | None:
    """The result of `reading`. If the caller may not read it, adds a remark and returns None."""
    try:
        return await reading
    except ApiError as error:
        if error.status != 403:
            raise
        unseen.append(f"you may not list {what}")
        return None


def _pod(raw: bytes | msgspec.Raw) -> tuple[Pod, ConstrainedPod]:
    return (
        pod_of(raw),
        msgspec.json.decode(raw, type=ConstrainedPod),
    )


def _pod_with_ports(raw: bytes | msgspec.Raw) -> tuple[Pod, Ports]:
    pod, constraints = _pod(raw)
    return pod, host_ports(constraints)


def _node(raw: bytes | msgspec.Raw) -> tuple[Node, Capacity]:
    node = node_from_wire(msgspec.json.decode(raw, type=NodeObject))
    wire = msgspec.json.decode(raw, type=NodeCapacity)
    return node, capacity_of(node.name, node.labels, wire)


def _workload(kind: str, raw: bytes | msgspec.Raw) -> Workload:
    return workload_from_wire(msgspec.json.decode(raw, type=WorkloadObject), kind)
