"""All inputs of a decision: pods, nodes, policies, workloads, the ledger, and the waiting pods. The
watches keep them up to date."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from itertools import islice

from spillover.api.kubernetes import PodObject
from spillover.api.partial import Identity
from spillover.core.cache.attempts import Attempts
from spillover.core.cache.dirty import DirtySet
from spillover.core.cache.edits import Edits, PolicyEdits
from spillover.core.cache.kept_labels import KeptLabels
from spillover.core.cache.ledger import NOWHERE, Ledger, Slot
from spillover.core.cache.pods_on_nodes import PodsOnNodes
from spillover.core.cache.policy_counts import PolicyCounts
from spillover.core.cache.policy_index import Home, PolicyIndex, counted, home_of
from spillover.core.cache.priorities import Priorities
from spillover.core.cache.refusals import Refusals
from spillover.core.cache.serverless import ServerlessPolicies
from spillover.core.cache.slot_numbers import SlotNumbers
from spillover.core.cache.term import Term
from spillover.core.cache.unschedulable import DEFAULT_BOUNDS, Bounds, UnschedulablePods
from spillover.core.decision.demand import Demand, History, demand_of, group_of
from spillover.core.decision.limits import LedgerView
from spillover.core.decision.outcomes import AtMax, Passed, Stay, Waiting
from spillover.core.decision.placement import ClusterView, assign_unit
from spillover.core.model.conventions import NodeConventions
from spillover.core.model.nodes import Node, NodeIndex
from spillover.core.model.pods import POLICY_ANNOTATION, Pod, attributed, unreadable_pod
from spillover.core.model.policy import LoadedPolicy, Policy, PolicyKey, UnitKey
from spillover.core.model.selectors import includes
from spillover.core.model.workloads import Workload, Workloads

_MOST_PODS_AT_ONCE = 200
"""An edit of a policy in a namespace with at most so many pods is taken in at once."""
_STEP = 25
"""Pods that one step of an edit counts anew."""


class ClusterCache:
    """Single-threaded: every method runs in one step of the event loop. `clock` returns seconds,
    `wall_clock` seconds since 1970, `jitter` random numbers from 0 to 1."""

    def __init__(
        self,
        conventions: NodeConventions,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        jitter: Callable[[], float],
        bounds: Bounds = DEFAULT_BOUNDS,
    ) -> None:
        self._wall_clock = wall_clock
        self._schedulers = conventions.schedulers
        self.nodes = NodeIndex(conventions)
        self.policies = PolicyIndex()
        self._serverless = ServerlessPolicies(
            conventions.serverless_labels, conventions.serverless_namespaces
        )
        self.ledger = Ledger(clock)
        self.workloads = Workloads()
        self.attempts = Attempts(clock)
        self.waiting = UnschedulablePods(clock, jitter, bounds)
        self.term = Term()
        self.dirty = DirtySet()
        self.counts = PolicyCounts(self.dirty)
        self._pods: dict[str, Pod] = {}
        # The version of the newest deletion or complete list. A pod at an older version that is
        # not in `_pods` was deleted before. `put_pod` does not set this: a list has no order.
        self._pods_seen = 0
        self._pods_by_namespace: dict[str, set[str]] = {}
        self._pods_on_nodes = PodsOnNodes()
        self._priorities = Priorities()
        # Waiting pods whose hard topology spread honors taints, and those of them to look at.
        self._spreading: dict[str, None] = {}
        self._untolerated: dict[str, None] = {}
        self.refusals = Refusals(wall_clock, jitter)
        self.kept_labels = KeptLabels()
        self.slot_numbers = SlotNumbers()
        self.edits = PolicyEdits(
            self._take_in_edits, self._is_quick_to_edit, self._look_at_policies, clock
        )

    # --- what the watches show ------------------------------------------------------------------

    def put_pod(self, pod: Pod) -> None:
        """The watch, or a list that is being read, shows `pod`."""
        self._take_in(pod)

    def unreadable_pod(self, found: Identity, reason: str) -> Pod:
        """A stand-in for a pod that the watch shows but that does not decode."""
        return unreadable_pod(found, reason, self._pods.get(found.uid))

    def drop_pod(self, uid: str, version: int) -> None:
        """The watch shows that the pod was deleted, at `version`."""
        self._pods_seen = max(self._pods_seen, version)
        self._forget(uid)

    def keep_pods(self, listed: Set[str], version: int) -> None:
        """Drop the pods that are not in a complete list at `version`. A pod that is newer than the
        list stays: the watch that follows shows what happened to it."""
        self._pods_seen = max(self._pods_seen, version)
        gone = [
            uid for uid, pod in self._pods.items() if uid not in listed and pod.version <= version
        ]
        for uid in gone:
            self._forget(uid)

    def put_node(self, node: Node) -> None:
        if self.nodes.get(node.name) == node:
            return  # only the node's status has changed
        if self.nodes.put(node):
            self._account_all(self._pods_on_nodes.of(node.name))
            self._recount_flights()
        self._untolerated |= dict.fromkeys(self._spreading)
        self.waiting.nodes_changed()

    def drop_node(self, name: str) -> None:
        self.nodes.drop(name)
        self._account_all(self._pods_on_nodes.of(name))

    def keep_nodes(self, listed: Set[str]) -> None:
        """Drop the nodes that are not in a complete list."""
        for name in self.nodes.names() - listed:
            self.drop_node(name)

    def put_policy(self, policy: LoadedPolicy) -> None:
        key = policy.key
        if not self.edits.is_pending(key.namespace) and self.policies.get(key) == policy:
            return  # only the policy's status or annotations have changed
        self.edits.edit(key, policy)

    def drop_policy(self, key: PolicyKey) -> None:
        self.edits.edit(key, None)

    def keep_policies(self, group: str, listed: Set[PolicyKey]) -> None:
        """Drop the policies of a dialect that are not in a complete list."""
        for key in {*self.policies.keys(group), *self.edits.pending_keys(group)} - listed:
            self.drop_policy(key)

    def put_namespace(self, name: str, labels: Mapping[str, str]) -> None:
        """The labels decide whether pods of the namespace may ask for serverless capacity."""
        if self._serverless.put_namespace(name, labels):
            for _ in self.waiting.policies_changed(name, self.equivalence_of):
                pass
            self.ledger.release_namespace(name)
            self._account_all([pod.uid for pod in self.pods_of(name)])

    def keep_namespaces(self, listed: Set[str]) -> None:
        """Drop the namespaces that are not in a complete list."""
        for name in self._serverless.open_namespaces() - listed:
            self.put_namespace(name, {})

    def put_workload(self, workload: Workload) -> None:
        if self.workloads.get(workload.uid) == workload:
            return  # only the workload's status has changed
        keys = self._with_ratio(workload.namespace)
        before = self._desired(keys)
        self.workloads.put(workload)
        self._desired_changed(workload.namespace, before)
        if keys:
            self.waiting.slots_freed([workload.namespace])  # pods may have waited for the workload

    def drop_workload(self, uid: str) -> None:
        workload = self.workloads.get(uid)
        if workload is not None:
            before = self._desired(self._with_ratio(workload.namespace))
            self.workloads.drop(uid)
            self._desired_changed(workload.namespace, before)

    def keep_workloads(self, kind: str, listed: Set[str]) -> None:
        """Drop the workloads of a kind that are not in a complete list."""
        for uid in self.workloads.uids(kind) - listed:
            self.drop_workload(uid)

    def learn(self, pod: Pod) -> None:
        """An answer of the API server shows `pod`. The answer is ignored if the watch has already
        shown this version or a later one. It is also ignored if the watch is past this version and
        does not know the pod: the pod was deleted since."""
        known = self._pods.get(pod.uid)
        if known.version < pod.version if known is not None else pod.version > self._pods_seen:
            self._take_in(pod)

    def resume_nominations(self) -> None:
        """Hold a slot for each nominated pod, in the first unit that has the nominated node. Only
        for a caller that reads the state once: a nomination may also be another component's hint.
        """
        for pod in self._pods.values():
            policy = self.policy_of(pod)
            if pod.node or not pod.nominated or not isinstance(policy, Policy):
                continue
            for unit in policy.units:
                if self.nodes.is_member(pod.nominated, unit.pool):
                    key = UnitKey(policy.key, unit.identity, group_of(pod, policy))
                    self.ledger.hold(pod, key)
                    break

    # --- terms ----------------------------------------------------------------------------------

    def begin_term(self, epoch: int) -> None:
        """From now on the scheduler calls this process. Before, it called another process. Pods
        that were refused then may be waiting for a change that has happened since, or for time to
        pass."""
        self.edits.take_in_all()
        self.attempts.begin_term()
        self._untolerated |= dict.fromkeys(self._spreading)
        self.term.begin(epoch)
        self.dirty.begin((policy.key for policy in self.policies.all()), self._pods)
        for pod in self._pods.values():
            self._note_refusal(pod, self.policy_of(pod))
            if pod.is_gated:
                self.waiting.gated(pod, self.equivalence_of)
            elif pod.is_refused and self.is_ours(pod):
                self.waiting.rejected(pod, *self.equivalence_of(pod), None, wait=None)

    def end_term(self) -> None:
        """Another replica decides now. Bindings that were sent stay in the ledger until their
        outcome is known."""
        self.term.end()
        self.dirty.end()
        self.ledger.release_all()
        self.waiting.clear()
        self.attempts.end_term()
        self.refusals.clear()
        self.kept_labels.clear()
        self.slot_numbers.clear()

    def doubt(self, pod: Pod) -> None:
        """An earlier leader may still bind the pod, at this version, under any policy that this
        leader knows. So the pod counts in every unit of its namespace. Nothing happens if the pod
        has a newer version by now, is bound, or is gone."""
        now = self._pods.get(pod.uid)
        if now is None or now.node or now.version > pod.version:
            return
        own = self.policy_of(pod)
        policies = [own] if own is not None and own.key.is_implicit else []
        units = (
            UnitKey(policy.key, unit.identity, group_of(pod, policy))
            for policy in (*policies, *self.policies.of_namespace(pod.namespace))
            if isinstance(policy, Policy)
            for unit in policy.units
        )
        self.ledger.doubt(pod, tuple(units))

    def outranking(self) -> list[Pod]:
        """Unbound pods of our scheduler whose epoch is newer than the epoch of this term."""
        return [
            pod
            for pod in self._pods.values()
            if pod.epoch > self.term.epoch > 0
            and self.is_ours(pod)
            and not (pod.node or pod.finished)
        ]

    def unsettled(self, pods: Iterable[Pod], epoch: int) -> dict[str, list[Pod]]:
        """The pods that an earlier leader may still bind, by namespace, as the watch shows them
        now. These are unbound pods that were not swept in this epoch."""
        found: dict[str, list[Pod]] = {}
        for pod in (self._pods.get(pod.uid, pod) for pod in pods):
            if not (pod.node or pod.finished) and pod.epoch != epoch:
                found.setdefault(pod.namespace, []).append(pod)
        return found

    # --- queries --------------------------------------------------------------------------------

    def policy_of(self, pod: Pod) -> LoadedPolicy | None:
        """The oldest policy that selects the pod, valid or not. If there is none: the implicit
        policy of pods that ask for serverless capacity. None for a pod with a given node."""
        if pod.has_given_node:
            return None
        found = self.policies.for_pod(pod.namespace, pod.labels)
        return found or self._serverless.for_pod(pod.namespace, pod.labels)

    def selecting(self, pod: Pod) -> Sequence[LoadedPolicy]:
        """All policies that select the pod, the oldest first."""
        if pod.has_given_node:
            return ()
        return self.policies.selecting(pod.namespace, pod.labels)

    def admits_known(self, uid: str) -> bool:
        """Whether a pod may be placed in this term yet. True for an unknown pod."""
        pod = self._pods.get(uid)
        return pod is None or self.term.admits(pod.namespace)

    def belongs_to(self, pod: Pod) -> PolicyKey | None:
        """The policy that counts the pod, bound or not."""
        policy = self.home_of(pod).policy if pod.node else self.policy_of(pod)
        return policy.key if policy is not None else None

    def demand_of(self, pod: Pod) -> Demand:
        """What a decision reads of a waiting pod."""
        return self.demand_under(pod, self.policy_of(pod))

    def demand_under(self, pod: Pod, policy: LoadedPolicy | None) -> Demand:
        """The same for a known policy of the pod."""
        return demand_of(
            pod,
            policy,
            self.history_of(pod, policy),
            untolerated=bool(self.lacking_tolerations(pod, policy)),
        )

    def lacking_tolerations(self, pod: Pod, policy: LoadedPolicy | None) -> frozenset[str]:
        """The keys of the taints that the pod must tolerate so that kube-scheduler counts the
        virtual nodes of the policy's units as domains of the pod's hard topology spread."""
        if not pod.spreads_by_taints or not isinstance(policy, Policy):
            return frozenset()
        pools = {unit.pool for unit in policy.units if unit.virtual}
        wanted = (self.nodes.provider_taints(pool, pod.tolerations) for pool in pools)
        return frozenset().union(*wanted) - pod.given_tolerations

    def untolerated(self, most: int) -> list[tuple[Pod, frozenset[str]]]:
        """Waiting pods that lack tolerations for their topology spread, with the keys of the
        taints. Looks at `most` pods at most, at other pods with the next call."""
        found = []
        for uid in list(islice(self._untolerated, most)):
            del self._untolerated[uid]
            pod = self._pods.get(uid)
            keys = self.lacking_tolerations(pod, self.policy_of(pod)) if pod is not None else None
            if pod is not None and keys:
                self._untolerated[uid] = None  # until the watch shows that it has them
                found.append((pod, keys))
        return found

    def is_ours(self, pod: Pod) -> bool:
        """Whether our scheduler places the pod."""
        return pod.scheduler in self._schedulers

    def pod(self, uid: str) -> Pod | None:
        return self._pods.get(uid)

    def same_as(self, wire: PodObject) -> Pod | None:
        """The known pod, if it is known at just this version: nothing else need be read of it. A
        nomination may be in the scheduler's memory before it is in the API server."""
        known = self._pods.get(wire.metadata.uid)
        is_same = (
            known is not None
            and str(known.version) == wire.metadata.resource_version
            and known.nominated == wire.status.nominated_node_name
        )
        return known if is_same else None

    def is_gone(self, pod: Pod) -> bool:
        """Whether the watch is past this version of the pod and no longer knows the pod."""
        return pod.uid not in self._pods and pod.version <= self._pods_seen

    def home_of(self, pod: Pod) -> Home:
        """The policy and unit that a bound pod belongs to, even if the pod does not count there."""
        return self._home(pod, self.policies.for_pod(pod.namespace, pod.labels))

    def pods(self) -> Iterator[Pod]:
        """All pods. Nothing may change while they are read."""
        return iter(self._pods.values())

    def pods_of(self, namespace: str) -> list[Pod]:
        return [self._pods[uid] for uid in self._pods_by_namespace.get(namespace, ())]

    def pods_in(self, unit: UnitKey) -> list[Pod]:
        """The bound pods that count under this key."""
        return [
            pod
            for pod in self.pods_of(unit.policy.namespace)
            if pod.node and not pod.finished and self.counts_under(pod) == unit
        ]

    def note_waits(self, pod: Pod, passed: Iterable[Passed], stays: Stay | None) -> None:
        """Remembers what a decision says about the pod's timed waits: a wait has begun, or the unit
        is at a limit, so that a later wait there begins anew."""
        for verdict in passed:
            if isinstance(verdict, AtMax) and verdict.unit.waits_for_a_time:
                self.attempts.end_wait(pod, verdict.unit.identity)
        if isinstance(stays, Waiting) and stays.since is not None:
            self.attempts.wait(pod, stays.unit.identity, stays.since)

    def history_of(self, pod: Pod, policy: LoadedPolicy | None) -> History:
        history, held = self.attempts.of(pod.uid), self.ledger.held(pod.uid)
        if held is None or policy is None or held.policy != policy.key:
            return history
        return replace(history, nominated=held.unit)

    def equivalence_of(self, pod: Pod) -> tuple[PolicyKey | None, Demand]:
        """What a decision for a waiting pod depends on, apart from the nodes."""
        policy = self.policy_of(pod)
        return (policy.key if policy is not None else None), self.demand_of(pod)

    def counts_under(self, pod: Pod) -> UnitKey | None:
        return counted(pod, self.home_of(pod)).slot.unit

    def has_below(self, priority: int, names: Set[str]) -> bool:
        """Whether one of these nodes has a pod of lower priority that is not terminating."""
        return self._priorities.any_below(priority, names)

    def view(self, ledger: LedgerView | None = None) -> ClusterView:
        """The present state, for decisions within this step of the event loop."""
        now = self._wall_clock()
        return ClusterView(ledger or self.ledger, self.nodes, self.workloads, self, now)

    # --- internal -------------------------------------------------------------------------------

    def _home(self, pod: Pod, selected_by: LoadedPolicy | None) -> Home:
        if pod.has_given_node:
            return Home(None)
        return home_of(pod, self.policies, self.nodes, selected_by, is_ours=self.is_ours(pod))

    def _take_in(self, pod: Pod) -> None:
        known = self._pods.get(pod.uid)
        if known is not None and known.version >= pod.version and not known.unreadable:
            # Known at this version, as after each list, or at a later one. An object does not
            # change within a version, and a change of its node or policy counts it anew.
            return
        pod = attributed(pod, known)
        self._pods[pod.uid] = pod
        self._pods_by_namespace.setdefault(pod.namespace, set()).add(pod.uid)
        if pod.node and (known is None or known.node != pod.node):
            self._pods_on_nodes.put(pod.node, pod.uid)
        self._account(pod)

    def _forget(self, uid: str) -> None:
        pod = self._pods.pop(uid, None)
        self.ledger.forget(uid)
        self.waiting.forget(uid)
        self.attempts.forget(uid)
        self._priorities.forget(uid)
        self.counts.forget(uid)
        self._settle_spread(uid)
        self.dirty.no_pod(uid)
        if (key := self.kept_labels.forget_pod(uid)) is not None:
            self.dirty.policy(key)
        if pod is not None:
            _discard(self._pods_by_namespace, pod.namespace, uid)
            self._pods_on_nodes.drop(pod.node, uid)
            self._count_for_ratio(pod, None)

    def _account(self, pod: Pod) -> None:
        selecting = self.selecting(pod)
        policy = selecting[0] if selecting else self.policy_of(pod)
        if pod.node or pod.finished or pod.terminating:
            self.waiting.forget(pod.uid)
            self.attempts.forget(pod.uid)
            self._settle_spread(pod.uid)
        else:
            if pod.spreads_by_taints and self.is_ours(pod):
                self._spreading[pod.uid] = self._untolerated[pod.uid] = None
            self._note_refusal(pod, policy)
            if pod.is_gated and self.term.epoch:
                self.waiting.gated(pod, self.equivalence_of)
            else:
                self.waiting.seen(pod, self.equivalence_of)
        home, slot = Home(policy), NOWHERE
        if pod.finished:
            self.ledger.forget(pod.uid)
        elif pod.node:
            home = self._home(pod, selecting[0] if selecting else None)
            bound = counted(pod, home)
            slot = bound.slot
            self.ledger.see_bound(pod.uid, bound)
        else:
            self.ledger.see_unbound(pod)
        self._count(pod, home, slot, selecting)
        live = not (pod.finished or pod.terminating)
        if pod.node and live:
            self._priorities.see(pod.uid, pod.node, pod.priority)
        else:
            self._priorities.forget(pod.uid)
        self._count_for_ratio(pod, policy if live else None)

    def _settle_spread(self, uid: str) -> None:
        """The pod no longer waits."""
        self._spreading.pop(uid, None)
        self._untolerated.pop(uid, None)

    def _note_refusal(self, pod: Pod, policy: LoadedPolicy | None) -> None:
        """Begins the timed wait of a pod that the scheduler has refused, or that has our gate. The
        scheduler may not have called filter: no node at all was feasible. For a pod that cannot be
        scheduled at all for now, for want of a volume for example, no wait begins."""
        is_timed = isinstance(policy, Policy) and policy.waits_for_a_time and self.is_ours(pod)
        has_slot = bool(self.ledger.with_slots([pod.uid])) if is_timed else False
        if has_slot or not (self.term.epoch and is_timed):
            return
        if pod.is_gated or pod.is_refused_by_nodes:
            demand = self.demand_under(pod, policy)
            found = assign_unit(pod.uid, demand, frozenset(), policy, self.view())
            self.note_waits(pod, found.passed, found.stays)

    def _count(self, pod: Pod, home: Home, slot: Slot, selecting: Sequence[LoadedPolicy]) -> None:
        self.dirty.pod(pod.uid)
        if pod.finished or home.policy is None or home.policy.key.is_implicit:
            self.counts.forget(pod.uid)
            return
        younger: Sequence[LoadedPolicy] = ()
        if len(selecting) > 1 and home.policy in selecting:
            younger = selecting[selecting.index(home.policy) + 1 :]
        if not pod.node:
            # Any change of a waiting pod may change which pods get slots: the order depends on
            # labels, priority and requests.
            self.dirty.policy(home.policy.key)
        ours = self.is_ours(pod)
        self.counts.see(pod, home, slot, younger, refused=pod.is_refused and ours, foreign=not ours)

    def _account_all(self, uids: Iterable[str]) -> None:
        for uid in uids:
            self._account(self._pods[uid])

    def _is_quick_to_edit(self, namespace: str) -> bool:
        return len(self._pods_by_namespace.get(namespace, ())) <= _MOST_PODS_AT_ONCE

    def _take_in_edits(self, namespace: str, edits: Edits) -> Iterator[None]:
        """An edit concerns the pods that the old or the new policy selects, and the pods that the
        policy has placed. Yields every few pods: nothing of the namespace is decided meanwhile."""
        selectors: list[Mapping[str, str]] = []
        for key, policy in edits.items():
            before = self.policies.drop(key)
            self.refusals.forget(key)
            self.kept_labels.forget(key)
            if policy is not None:
                self.policies.put(policy)
            selectors += [each.selector for each in (before, policy) if each is not None]

        def concerns(pod: Pod) -> bool:
            return any(includes(pod.labels, selector) for selector in selectors)

        yield from self.waiting.policies_changed(namespace, self.equivalence_of, concerns)
        self.ledger.release_namespace(namespace)
        self._recount_flights()
        for pod in self.ledger.doubted():
            self.doubt(pod)
        placed_by = {str(key) for key in edits}
        concerned = [
            pod.uid
            for pod in self.pods_of(namespace)
            if pod.annotations.get(POLICY_ANNOTATION) in placed_by or concerns(pod)
        ]
        # Waiting pods come last: the decisions about them need the counts of the bound ones.
        concerned.sort(key=lambda uid: not self._pods[uid].node)
        for index, uid in enumerate(concerned):
            if uid in self._pods:  # a step may be later than the end of the pod
                self._account(self._pods[uid])
            if index % _STEP == _STEP - 1:
                yield
        for key in edits:
            self.dirty.edited(key)
        self._look_at_policies(namespace)  # the edit may start or end a conflict between policies
        self.waiting.slots_freed([namespace])

    def _look_at_policies(self, namespace: str) -> None:
        for policy in self.policies.of_namespace(namespace):
            self.dirty.policy(policy.key)

    def _recount_flights(self) -> None:
        for flight in self.ledger.flights():
            slot = counted(flight.lands, self.home_of(flight.lands)).slot
            if slot != flight.slot:
                self.ledger.recount(flight, slot)

    def _desired(self, keys: Iterable[PolicyKey]) -> dict[PolicyKey, int]:
        """The number of desired replicas for each of these policies."""
        return {key: self.workloads.desired(key) for key in keys}

    def _desired_changed(self, namespace: str, before: Mapping[PolicyKey, int]) -> None:
        for key, count in before.items():
            now = self.workloads.desired(key)
            if now < count:
                self.ledger.release_policy(key)  # bind decides again, under the lower maximum
                self.dirty.edited(key)
            if now != count:
                self.waiting.slots_freed([namespace])
                self.dirty.policy(key)

    def _with_ratio(self, namespace: str) -> list[PolicyKey]:
        return [
            policy.key
            for policy in self.policies.of_namespace(namespace)
            if isinstance(policy, Policy) and policy.has_ratio
        ]

    def _count_for_ratio(self, pod: Pod, policy: LoadedPolicy | None) -> None:
        """`policy` is the pod's policy if the pod is live, else None."""
        ratio = isinstance(policy, Policy) and policy.has_ratio
        key = policy.key if policy is not None and ratio else None
        if not self.workloads.is_news(pod.uid, key, pod.owner):
            return
        concerned = (key, self.workloads.policy_of(pod.uid))
        before = self._desired(each for each in concerned if each is not None)
        self.workloads.count_pod(pod.uid, key, pod.owner)
        self._desired_changed(pod.namespace, before)


def _discard(index: dict[str, set[str]], key: str, uid: str) -> None:
    members = index.get(key)
    if members is not None:
        members.discard(uid)
        if not members:
            del index[key]
