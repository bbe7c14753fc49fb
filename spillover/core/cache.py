"""All that a decision rests on, kept up to date by the watches: pods, nodes, policies, ledger."""

from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass

from spillover.api.kubernetes import Taint
from spillover.core.conventions import NodeConventions
from spillover.core.ledger import Ledger
from spillover.core.matching import PolicyIndex, unit_of
from spillover.core.nodes import Node, NodeIndex
from spillover.core.placement import Decision, Placement, Rejected, decide
from spillover.core.pods import (
    DELETION_COST_ANNOTATION,
    POLICY_ANNOTATION,
    UNIT_ANNOTATION,
    Pod,
)
from spillover.core.policy import LoadedPolicy, Policy, PolicyKey, Unit

DELETION_COST_STEP = 100


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to bind `pod` to `node` once, with what the Binding carries. `tolerate` are taints
    that would evict the pod right away."""

    pod: Pod
    node: str
    policy: str
    unit: str
    labels: dict[str, str]
    foreign_labels: dict[str, str]
    annotations: dict[str, str]
    tolerate: tuple[Taint, ...]


class SchedulingCache:
    """Single-threaded: every method runs in one step of the event loop, so that a check and the
    reservation that follows from it cannot be parted."""

    def __init__(self, conventions: NodeConventions, clock: Callable[[], float]) -> None:
        self.nodes = NodeIndex(conventions)
        self.policies = PolicyIndex()
        self.ledger = Ledger(clock)
        self._pods: dict[str, Pod] = {}
        self._pods_by_namespace: dict[str, set[str]] = {}
        self._pods_by_node: dict[str, set[str]] = {}

    # --- what the watches say ------------------------------------------------------------------

    def put_pod(self, pod: Pod) -> None:
        known = self._pods.get(pod.uid)
        if known is not None and known.version > pod.version:
            return  # an older view, from a list that was served from a lagging cache
        self._pods[pod.uid] = pod
        self._pods_by_namespace.setdefault(pod.namespace, set()).add(pod.uid)
        if pod.node:
            self._pods_by_node.setdefault(pod.node, set()).add(pod.uid)
        self._account(pod)

    def drop_pod(self, uid: str) -> None:
        pod = self._pods.pop(uid, None)
        self.ledger.forget(uid)
        if pod is not None:
            _discard(self._pods_by_namespace, pod.namespace, uid)
            _discard(self._pods_by_node, pod.node, uid)

    def put_node(self, node: Node) -> None:
        if self.nodes.put(node):
            self._account_all(self._pods_by_node.get(node.name, ()))

    def drop_node(self, name: str) -> None:
        self.nodes.drop(name)
        self._account_all(self._pods_by_node.get(name, ()))

    def put_policy(self, policy: LoadedPolicy) -> None:
        for unit in _units(policy):
            self.nodes.hold(unit.pool)
        self._release_pools(self.policies.get(policy.key))
        self.policies.put(policy)
        self._policy_changed(policy.key)

    def drop_policy(self, key: PolicyKey) -> None:
        self._release_pools(self.policies.drop(key))
        self._policy_changed(key)

    def keep_pods(self, listed: Set[str], version: int) -> None:
        """Drop the pods that a complete list at `version` lacks. What is newer than the list stays:
        the watch that follows tells of it."""
        gone = [
            uid for uid, pod in self._pods.items() if uid not in listed and pod.version <= version
        ]
        for uid in gone:
            self.drop_pod(uid)

    def keep_nodes(self, listed: Set[str]) -> None:
        """Drop the nodes that a complete list lacks."""
        for name in self.nodes.names() - listed:
            self.drop_node(name)

    def keep_policies(self, group: str, listed: Set[PolicyKey]) -> None:
        """Drop the policies of a dialect that a complete list lacks."""
        for key in set(self.policies.keys(group)) - listed:
            self.drop_policy(key)

    # --- what the scheduler asks ---------------------------------------------------------------

    def place(self, pod: Pod, offered: Sequence[str]) -> Decision:
        """Decide, and reserve what was decided. `pod` is as the scheduler sees it."""
        policy = self.policies.for_pod(pod.namespace, pod.labels)
        decision = decide(pod, offered, policy, self.ledger, self.nodes)
        match decision:
            case Placement():
                self.ledger.reserve(pod, decision.unit_key, frozenset(decision.nodes))
            case Rejected():
                self.ledger.release(pod.uid)
        return decision

    def claim(self, uid: str, node: str) -> Claim | str:
        """The right to bind, or the reason against it. A reservation that is gone is made anew
        under the present policy, if that still sends the pod to this node."""
        if self.ledger.in_flight(uid):
            return "another binding of this pod is under way"
        pod = self._newest(uid, node)
        if pod is None:
            return "the pod is not known to Spillover yet"
        if pod.node or pod.terminating or pod.finished:
            return "the pod is bound, being deleted or finished already"
        if self.ledger.reservation(uid, node) is None:
            decision = self.place(pod, [node])
            if isinstance(decision, Rejected):
                return decision.reasons[node]
        reservation = self.ledger.reservation(uid, node)
        if reservation is None:
            raise AssertionError("a placement on a node reserves that node")
        self.put_pod(pod)
        self.ledger.start_binding(uid, node)
        policy = self.policies.for_pod(pod.namespace, pod.labels)
        if reservation.unit is not None:
            policy = self.policies.get(reservation.unit.policy)
        if not isinstance(policy, Policy):
            return Claim(pod, node, "", "", {}, {}, {}, ())
        unit = policy.unit(reservation.unit.unit) if reservation.unit is not None else None
        return self._claim_in(policy, unit, pod, node)

    def _claim_in(self, policy: Policy, unit: Unit | None, pod: Pod, node: str) -> Claim:
        origin = {
            POLICY_ANNOTATION: str(policy.key),
            UNIT_ANNOTATION: unit.identity if unit else "",
        }
        if unit is None:
            return Claim(pod, node, policy.key.name, "", {}, _labels_of(policy.units), origin, ())
        cost = DELETION_COST_STEP * policy.rank_from_end(unit)
        annotations = {DELETION_COST_ANNOTATION: str(cost), **unit.pod_annotations, **origin}
        if DELETION_COST_ANNOTATION in pod.annotations:
            del annotations[DELETION_COST_ANNOTATION]
        evictions = self.nodes.provider_evictions(node) if unit.virtual else ()
        return Claim(
            pod,
            node,
            policy.key.name,
            unit.title,
            dict(unit.pod_labels),
            _labels_of([other for other in policy.units if other is not unit]),
            annotations,
            evictions,
        )

    # --- within --------------------------------------------------------------------------------

    def _newest(self, uid: str, node: str) -> Pod | None:
        """The scheduler's view of the pod or the watch's, whichever is newer."""
        reservation = self.ledger.reservation(uid, node)
        views = [self._pods.get(uid), reservation.pod if reservation is not None else None]
        return max(
            (view for view in views if view is not None),
            key=lambda view: view.version,
            default=None,
        )

    def _account(self, pod: Pod) -> None:
        if pod.finished or (pod.terminating and pod.node):
            # ignoreTerminatingPod, by default true: a pod that is being deleted does not count.
            self.ledger.forget(pod.uid)
        elif pod.node:
            self.ledger.see_bound(pod, unit_of(pod, self.policies, self.nodes))
        else:
            self.ledger.see_unbound(pod)

    def _account_all(self, uids: Iterable[str]) -> None:
        for uid in uids:
            self._account(self._pods[uid])

    def _policy_changed(self, key: PolicyKey) -> None:
        self.ledger.release_namespace(key.namespace)
        bound = (
            uid for uid in self._pods_by_namespace.get(key.namespace, ()) if self._pods[uid].node
        )
        self._account_all(bound)

    def _release_pools(self, policy: LoadedPolicy | None) -> None:
        for unit in _units(policy):
            self.nodes.release(unit.pool)


def _units(policy: LoadedPolicy | None) -> Sequence[Unit]:
    return policy.units if isinstance(policy, Policy) else ()


def _labels_of(units: Iterable[Unit]) -> dict[str, str]:
    return {key: value for unit in units for key, value in unit.pod_labels.items()}


def _discard(index: dict[str, set[str]], key: str, uid: str) -> None:
    members = index.get(key)
    if members is not None:
        members.discard(uid)
        if not members:
            del index[key]
