"""All that a decision rests on, kept up to date by the watches: pods, nodes, policies, ledger."""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from spillover.api.kubernetes import Taint
from spillover.api.labels import DELETION_COST, MAX_ANNOTATIONS_BYTES, annotations_size
from spillover.core.conventions import NodeConventions
from spillover.core.ledger import Flight, Ledger
from spillover.core.matching import PolicyIndex, unit_of
from spillover.core.nodes import Node, NodeIndex
from spillover.core.placement import Decision, Placement, Rejected, decide, find_placement
from spillover.core.pods import POLICY_ANNOTATION, UNIT_ANNOTATION, Pod
from spillover.core.policy import LoadedPolicy, Policy, PolicyKey, Unit, UnitKey
from spillover.core.waiting import WaitingPods

DELETION_COST_STEP = 100

MOST_SCHEDULERS = 64
"""Names of schedulers that ask us. Ours has one for each of its profiles."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to bind `pod` to `node` once, with what the Binding carries. `flight` goes back to
    the ledger with the outcome. `tolerate` are taints that would evict the pod at once."""

    pod: Pod
    node: str
    flight: Flight
    policy: str
    unit: str
    labels: dict[str, str]
    annotations: dict[str, str]
    tolerate: tuple[Taint, ...]


class SchedulingCache:
    """Single-threaded: every method runs in one step of the event loop, so that a check and the
    reservation that follows from it cannot be parted. `clock` gives seconds, `jitter` numbers from
    0 to 1 by chance."""

    def __init__(
        self,
        conventions: NodeConventions,
        clock: Callable[[], float],
        jitter: Callable[[], float],
    ) -> None:
        self.nodes = NodeIndex(conventions)
        self.policies = PolicyIndex()
        self.ledger = Ledger(clock)
        self.waiting = WaitingPods(clock, jitter)
        self._schedulers: set[str] = set()  # those that have asked us
        self._pods: dict[str, Pod] = {}
        self._pods_seen = 0  # the newest version that the watch of pods has shown
        self._pods_by_namespace: dict[str, set[str]] = {}
        self._pods_by_node: dict[str, set[str]] = {}

    # --- what the watches say ------------------------------------------------------------------

    def put_pod(self, pod: Pod) -> None:
        """`pod` as the watch shows it."""
        self._pods_seen = max(self._pods_seen, pod.version)
        self._take_in(pod)

    def drop_pod(self, uid: str, version: int) -> None:
        """The watch shows that the pod was deleted, at `version`."""
        self._pods_seen = max(self._pods_seen, version)
        self._forget(uid)

    def keep_pods(self, listed: Set[str], version: int) -> None:
        """Drop the pods that a complete list at `version` lacks. What is newer than the list stays:
        the watch that follows tells of it."""
        self._pods_seen = max(self._pods_seen, version)
        gone = [
            uid for uid, pod in self._pods.items() if uid not in listed and pod.version <= version
        ]
        for uid in gone:
            self._forget(uid)

    def put_node(self, node: Node) -> None:
        if self.nodes.get(node.name) == node:
            return  # only its status has changed
        if self.nodes.put(node):
            self._account_all(self._pods_by_node.get(node.name, ()))
        self.waiting.nodes_changed()

    def drop_node(self, name: str) -> None:
        self.nodes.drop(name)
        self._account_all(self._pods_by_node.get(name, ()))

    def keep_nodes(self, listed: Set[str]) -> None:
        """Drop the nodes that a complete list lacks."""
        for name in self.nodes.names() - listed:
            self.drop_node(name)

    def put_policy(self, policy: LoadedPolicy) -> None:
        before = self.policies.get(policy.key)
        if before == policy:
            return  # only its status or its annotations have changed
        for unit in _units(policy):
            self.nodes.hold(unit.pool)
        self._release_pools(before)
        self.policies.put(policy)
        self._policy_changed(policy.key)

    def drop_policy(self, key: PolicyKey) -> None:
        self._release_pools(self.policies.drop(key))
        self._policy_changed(key)

    def keep_policies(self, group: str, listed: Set[PolicyKey]) -> None:
        """Drop the policies of a dialect that a complete list lacks."""
        for key in set(self.policies.keys(group)) - listed:
            self.drop_policy(key)

    # --- what the scheduler asks ---------------------------------------------------------------

    def obstacle(self, pod: Pod) -> str | None:
        """Why nothing can be decided for a pod that the scheduler believes to be waiting."""
        if self.ledger.in_flight(pod.uid):
            return "another binding of this pod is under way"
        if self.ledger.is_bound(pod.uid):
            return "the pod is bound already"
        if pod.uid not in self._pods and pod.version <= self._pods_seen:
            return "the pod is gone"
        return None

    def place(self, pod: Pod, offered: Sequence[str]) -> Decision:
        """Decide, reserve what was decided, and remember what was rejected. `pod` is as the
        scheduler sees it; there must be no obstacle."""
        self._meet(pod.scheduler)
        decision = self._decide(pod, offered)
        if isinstance(decision, Placement):
            self.waiting.forget(pod.uid)
        else:
            reasons = frozenset(decision.reasons.values())
            self.waiting.rejected(pod, self._policy_key(pod), frozenset(offered), reasons)
        return decision

    def due_nudges(self) -> list[Pod]:
        """Waiting pods that filter would place now, for all we know, and that nobody tells the
        scheduler to try again: as many as there are slots. See `spillover.core.waiting`."""
        self.waiting.slots_freed({unit.policy.namespace for unit in self.ledger.take_freed()})
        return self.waiting.due(self._find)

    def claim(self, uid: str, node: str) -> Claim | str:
        """The right to bind, or the reason against it. A reservation that is gone, or was made
        under another policy than the pod has now, is made anew if this node still is an answer."""
        pod = self._newest(uid, node)
        if pod is None:
            return "the pod is not known to Spillover yet"
        if obstacle := self.obstacle(pod):
            return obstacle
        if pod.node or pod.terminating or pod.finished:
            return "the pod is bound, being deleted or finished already"
        self.learn(pod)
        policy = self.policies.for_pod(pod.namespace, pod.labels)
        reservation = self.ledger.reservation(uid, node)
        if reservation is None or reservation.policy != (policy.key if policy else None):
            decision = self._decide(pod, [node])
            if isinstance(decision, Rejected):
                return decision.reasons[node]
            reservation = self.ledger.reservation(uid, node)
        if reservation is None:
            raise AssertionError("a placement on a node reserves that node")
        unit = None
        if isinstance(policy, Policy) and reservation.unit is not None:
            unit = policy.unit(reservation.unit.unit)
        annotations = _annotations(pod, policy, unit)
        if annotations_size({**pod.annotations, **annotations}) > MAX_ANNOTATIONS_BYTES:
            self.ledger.release(uid)
            return "the pod's annotations and those of the unit are too large together"
        return Claim(
            pod=pod,
            node=node,
            flight=self.ledger.start_binding(uid),
            policy=policy.key.name if policy else "",
            unit=unit.title if unit else "",
            labels=dict(unit.pod_labels) if unit else {},
            annotations=annotations,
            tolerate=self.nodes.evictions(node, pod.tolerations) if unit and unit.virtual else (),
        )

    def learn(self, pod: Pod) -> None:
        """`pod` as an answer of the API server showed it. Ignored if the watch is past that already
        and knows no such pod: it was deleted since."""
        if pod.uid in self._pods or pod.version > self._pods_seen:
            self._take_in(pod)

    # --- within --------------------------------------------------------------------------------

    def _decide(self, pod: Pod, offered: Sequence[str]) -> Decision:
        policy = self.policies.for_pod(pod.namespace, pod.labels)
        decision = decide(pod, offered, policy, self.ledger, self.nodes)
        match decision:
            case Placement():
                key = policy.key if policy is not None else None
                self.ledger.reserve(pod, key, decision.unit_key, decision.nodes)
            case Rejected():
                self.ledger.release(pod.uid)
        return decision

    def _find(
        self, pod: Pod, offered: frozenset[str] | None, held: Mapping[UnitKey, int]
    ) -> Placement | None:
        """What `place` would answer, with the slots that are held for others counted."""
        policy = self.policies.for_pod(pod.namespace, pod.labels)
        names = self.nodes.names() if offered is None else offered
        return find_placement(pod, names, policy, _Held(self.ledger, held), self.nodes)

    def _policy_key(self, pod: Pod) -> PolicyKey | None:
        policy = self.policies.for_pod(pod.namespace, pod.labels)
        return policy.key if policy is not None else None

    def _meet(self, scheduler: str) -> None:
        """The first call of a scheduler: what it asked before, it asked another process, which has
        ended. Those of its pods that were refused then may be waiting for what has changed since.
        """
        if scheduler in self._schedulers or len(self._schedulers) >= MOST_SCHEDULERS:
            return
        self._schedulers.add(scheduler)
        for pod in self._pods.values():
            if pod.scheduler == scheduler and pod.is_refused:
                self.waiting.rejected(pod, self._policy_key(pod), None)

    def _take_in(self, pod: Pod) -> None:
        known = self._pods.get(pod.uid)
        if known is not None and known.version > pod.version:
            return  # an older view than the one we have
        self._pods[pod.uid] = pod
        self._pods_by_namespace.setdefault(pod.namespace, set()).add(pod.uid)
        if pod.node:
            self._pods_by_node.setdefault(pod.node, set()).add(pod.uid)
        self._account(pod)

    def _forget(self, uid: str) -> None:
        pod = self._pods.pop(uid, None)
        self.ledger.forget(uid)
        self.waiting.forget(uid)
        if pod is not None:
            _discard(self._pods_by_namespace, pod.namespace, uid)
            _discard(self._pods_by_node, pod.node, uid)

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
        if pod.node or pod.finished or pod.terminating:
            self.waiting.forget(pod.uid)
        else:
            self.waiting.seen(pod, self._policy_key)
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
        self.waiting.policies_changed(key.namespace, self._policy_key)
        self.ledger.release_namespace(key.namespace)
        bound = (
            uid for uid in self._pods_by_namespace.get(key.namespace, ()) if self._pods[uid].node
        )
        self._account_all(bound)

    def _release_pools(self, policy: LoadedPolicy | None) -> None:
        for unit in _units(policy):
            self.nodes.release(unit.pool)


@dataclass(frozen=True, slots=True)
class _Held:
    """The ledger, with slots that are held for nudged pods."""

    ledger: Ledger
    held: Mapping[UnitKey, int]

    def taken(self, unit: UnitKey, besides: str) -> int:
        return self.ledger.taken(unit, besides) + self.held.get(unit, 0)


def _units(policy: LoadedPolicy | None) -> Sequence[Unit]:
    return policy.units if isinstance(policy, Policy) else ()


def _annotations(pod: Pod, policy: LoadedPolicy | None, unit: Unit | None) -> dict[str, str]:
    """What the Binding writes. Marks that a user copied from another pod are overwritten."""
    marks = {
        POLICY_ANNOTATION: str(policy.key) if policy else "",
        UNIT_ANNOTATION: unit.identity if unit else "",
    }
    if not isinstance(policy, Policy):
        return {key: value for key, value in marks.items() if key in pod.annotations}
    if unit is None:
        return marks
    cost = {DELETION_COST: str(DELETION_COST_STEP * policy.rank_from_end(unit))}
    annotations = {**cost, **unit.pod_annotations, **marks}
    if DELETION_COST in pod.annotations:
        del annotations[DELETION_COST]
    return annotations


def _discard(index: dict[str, set[str]], key: str, uid: str) -> None:
    members = index.get(key)
    if members is not None:
        members.discard(uid)
        if not members:
            del index[key]
