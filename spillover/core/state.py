"""All that a decision rests on, kept up to date by the watches: pods, nodes, policies, workloads,
the ledger, and the pods that wait."""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import replace

from spillover.api.partial import Identity
from spillover.core.changes import Changes
from spillover.core.conventions import NodeConventions
from spillover.core.demand import Demand, History, demand_of, group_of
from spillover.core.histories import Histories
from spillover.core.ledger import NOWHERE, Ledger, Slot
from spillover.core.limits import LedgerView
from spillover.core.matching import Home, PolicyIndex, counted, home_of
from spillover.core.nodes import Node, NodeIndex
from spillover.core.placement import World
from spillover.core.pods import POLICY_ANNOTATION, Pod, unreadable_pod
from spillover.core.policy import LoadedPolicy, Policy, PolicyKey, Unit, UnitKey
from spillover.core.priorities import Priorities
from spillover.core.selectors import includes
from spillover.core.serverless import ServerlessPolicies
from spillover.core.tally import Tally
from spillover.core.term import Term
from spillover.core.waiting import WaitingPods
from spillover.core.workloads import Workload, Workloads


class ClusterState:
    """Single-threaded: every method runs in one step of the event loop. `clock` gives seconds,
    `wall_clock` those since 1970, `jitter` numbers from 0 to 1 by chance."""

    def __init__(
        self,
        conventions: NodeConventions,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        jitter: Callable[[], float],
    ) -> None:
        self._wall_clock = wall_clock
        self._schedulers = conventions.schedulers
        self.nodes = NodeIndex(conventions)
        self.policies = PolicyIndex()
        self._serverless = ServerlessPolicies(self.nodes, conventions.serverless_labels)
        self.ledger = Ledger(clock)
        self.workloads = Workloads()
        self.histories = Histories(clock)
        self.waiting = WaitingPods(clock, jitter)
        self.term = Term()
        self.changes = Changes()
        self.tally = Tally(self.changes)
        self._pods: dict[str, Pod] = {}
        # The newest deletion, or complete list, that was seen: a pod at an older version that is
        # not known was deleted before. (What is put says nothing of that: a list has no order.)
        self._pods_seen = 0
        self._pods_by_namespace: dict[str, set[str]] = {}
        self._pods_by_node: dict[str, set[str]] = {}
        self._priorities = Priorities()

    # --- what the watches say -------------------------------------------------------------------

    def put_pod(self, pod: Pod) -> None:
        """`pod` as the watch, or a list that is being taken in, shows it."""
        self._take_in(pod)

    def unreadable_pod(self, found: Identity, reason: str) -> Pod:
        """What stands for a pod that the watch shows and that does not decode."""
        return unreadable_pod(found, reason, self._pods.get(found.uid))

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
            self._recount_flights()
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
        self._policy_changed(policy.key, before, policy)

    def drop_policy(self, key: PolicyKey) -> None:
        before = self.policies.drop(key)
        self._release_pools(before)
        self._policy_changed(key, before)

    def keep_policies(self, group: str, listed: Set[PolicyKey]) -> None:
        """Drop the policies of a dialect that a complete list lacks."""
        for key in set(self.policies.keys(group)) - listed:
            self.drop_policy(key)

    def put_workload(self, workload: Workload) -> None:
        if self.workloads.get(workload.uid) == workload:
            return  # only its status has changed
        keys = self._with_ratio(workload.namespace)
        before = self._desired(keys)
        self.workloads.put(workload)
        self._desired_changed(workload.namespace, before)
        if keys:
            self.waiting.slots_freed([workload.namespace])  # its pods may have waited for it

    def drop_workload(self, uid: str) -> None:
        workload = self.workloads.get(uid)
        if workload is not None:
            before = self._desired(self._with_ratio(workload.namespace))
            self.workloads.drop(uid)
            self._desired_changed(workload.namespace, before)

    def keep_workloads(self, kind: str, listed: Set[str]) -> None:
        """Drop the workloads of a kind that a complete list lacks."""
        for uid in self.workloads.uids(kind) - listed:
            self.drop_workload(uid)

    def learn(self, pod: Pod) -> None:
        """`pod` as an answer of the API server showed it. Ignored if the watch has shown this or a
        later version already, or is past it and knows no such pod: it was deleted since."""
        known = self._pods.get(pod.uid)
        if known.version < pod.version if known is not None else pod.version > self._pods_seen:
            self._take_in(pod)

    def resume_nominations(self) -> None:
        """Hold slots for pods that the scheduler has nominated, each in the first unit that has its
        node. For who looks once: a nomination may also be somebody else's hint."""
        for pod in self._pods.values():
            policy = self.policy_of(pod)
            if pod.node or not pod.nominated or not isinstance(policy, Policy):
                continue
            for unit in policy.units:
                if pod.nominated in self.nodes.members(unit.pool):
                    key = UnitKey(policy.key, unit.identity, group_of(pod, policy))
                    self.ledger.hold(pod, key)
                    break

    # --- terms ----------------------------------------------------------------------------------

    def begin_term(self, epoch: int) -> None:
        """From now on the scheduler asks us. What it asked before, it asked another process: pods
        that were refused then may be waiting for what has changed since, or for time to pass."""
        self.term.begin(epoch)
        self.changes.begin((policy.key for policy in self.policies.all()), self._pods)
        for pod in self._pods.values():
            if pod.is_refused and self.is_ours(pod):
                self.waiting.rejected(pod, *self._shape(pod), None)

    def end_term(self) -> None:
        """Others decide now. Bindings that were sent stay in the ledger until they are settled."""
        self.term.end()
        self.changes.end()
        self.ledger.release_all()
        self.waiting.clear()

    def doubt(self, pod: Pod) -> None:
        """An earlier leader may yet bind the pod, at this version, under whatever policy it knows:
        it counts in every unit of its namespace. Not so if it has another version by now, or is
        gone."""
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
        """Unbound pods of ours whose epoch is newer than this term's."""
        return [
            pod
            for pod in self._pods.values()
            if pod.epoch > self.term.epoch > 0
            and self.is_ours(pod)
            and not (pod.node or pod.finished)
        ]

    def unsettled(self, pods: Iterable[Pod], epoch: int) -> dict[str, list[Pod]]:
        """Those of the pods, as they are known now, that an earlier leader may yet bind, by
        namespace: ours, unbound, and not swept in this epoch."""
        found: dict[str, list[Pod]] = {}
        for pod in (self._pods.get(pod.uid, pod) for pod in pods):
            if not (pod.node or pod.finished) and pod.epoch != epoch:
                found.setdefault(pod.namespace, []).append(pod)
        return found

    # --- what there is --------------------------------------------------------------------------

    def policy_of(self, pod: Pod) -> LoadedPolicy | None:
        """The oldest policy that selects the pod, valid or not; where there is none, that of pods
        which ask for serverless capacity."""
        found = self.policies.for_pod(pod.namespace, pod.labels)
        return found or self._serverless.for_pod(pod.namespace, pod.labels)

    def admits_known(self, uid: str) -> bool:
        """Whether a pod may be placed in this term yet; true of one that is not known."""
        pod = self._pods.get(uid)
        return pod is None or self.term.admits(pod.namespace)

    def belongs_to(self, pod: Pod) -> PolicyKey | None:
        """The policy that a pod, bound or not, is counted for."""
        policy = self.home_of(pod).policy if pod.node else self.policy_of(pod)
        return policy.key if policy is not None else None

    def demand_of(self, pod: Pod) -> Demand:
        """What a decision reads of a pod that waits."""
        policy = self.policy_of(pod)
        return demand_of(pod, policy, self._history(pod, policy))

    def is_ours(self, pod: Pod) -> bool:
        """Whether our scheduler places the pod."""
        return pod.scheduler in self._schedulers

    def pod(self, uid: str) -> Pod | None:
        return self._pods.get(uid)

    def home_of(self, pod: Pod) -> Home:
        """The policy and unit that a bound pod belongs to, whether it counts there or not."""
        selected_by = self.policies.for_pod(pod.namespace, pod.labels)
        return home_of(pod, self.policies, self.nodes, selected_by)

    def pods_of(self, namespace: str) -> list[Pod]:
        return [self._pods[uid] for uid in self._pods_by_namespace.get(namespace, ())]

    def pods_in(self, unit: UnitKey) -> list[Pod]:
        """The bound pods that count under this key."""
        return [
            pod
            for pod in self.pods_of(unit.policy.namespace)
            if pod.node and not pod.finished and self._counts_under(pod) == unit
        ]

    def has_below(self, priority: int, names: Set[str]) -> bool:
        """Whether a pod of less than this priority, that stays, is on one of these nodes."""
        return self._priorities.any_below(priority, names)

    def world(self, ledger: LedgerView | None = None) -> World:
        """What is so now: decisions rest on it within this step of the event loop."""
        now = self._wall_clock()
        return World(ledger or self.ledger, self.nodes, self.workloads, self, now)

    # --- within ---------------------------------------------------------------------------------

    def _history(self, pod: Pod, policy: LoadedPolicy | None) -> History:
        held = self.ledger.held(pod.uid)
        nominated = held.unit if held and policy and held.policy == policy.key else ""
        return replace(self.histories.of(pod.uid), nominated=nominated)

    def _shape(self, pod: Pod) -> tuple[PolicyKey | None, Demand]:
        """What decides about a waiting pod, besides the nodes."""
        policy = self.policy_of(pod)
        return (policy.key if policy is not None else None), self.demand_of(pod)

    def _counts_under(self, pod: Pod) -> UnitKey | None:
        return counted(pod, self.home_of(pod)).slot.unit

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
        self.histories.forget(uid)
        self._priorities.forget(uid)
        self.tally.forget(uid)
        self.changes.no_pod(uid)
        if pod is not None:
            _discard(self._pods_by_namespace, pod.namespace, uid)
            _discard(self._pods_by_node, pod.node, uid)
            self._count_for_ratio(pod, None)

    def _account(self, pod: Pod) -> None:
        if pod.node or pod.finished or pod.terminating:
            self.waiting.forget(pod.uid)
            self.histories.forget(pod.uid)
        else:
            self.waiting.seen(pod, self._shape)
        selecting = self.policies.selecting(pod.namespace, pod.labels)
        policy = selecting[0] if selecting else self._serverless.for_pod(pod.namespace, pod.labels)
        home, slot = Home(policy), NOWHERE
        if pod.finished:
            self.ledger.forget(pod.uid)
        elif pod.node:
            home = home_of(pod, self.policies, self.nodes, selecting[0] if selecting else None)
            bound = counted(pod, home)
            slot = bound.slot
            self.ledger.see_bound(pod.uid, bound)
        else:
            self.ledger.see_unbound(pod)
        self._tally(pod, home, slot, selecting)
        live = not (pod.finished or pod.terminating)
        if pod.node and live:
            self._priorities.see(pod.uid, pod.node, pod.priority)
        else:
            self._priorities.forget(pod.uid)
        self._count_for_ratio(pod, policy if live else None)

    def _tally(self, pod: Pod, home: Home, slot: Slot, selecting: Sequence[LoadedPolicy]) -> None:
        self.changes.pod(pod.uid)
        if pod.finished or home.policy is None or home.policy.key.is_implicit:
            self.tally.forget(pod.uid)
            return
        younger: Sequence[LoadedPolicy] = ()
        if len(selecting) > 1 and home.policy in selecting:
            younger = selecting[selecting.index(home.policy) + 1 :]
        if not pod.node:
            # Which of the waiting pods get the slots goes by much: labels, priority, requests.
            self.changes.policy(home.policy.key)
        refused = pod.is_refused and self.is_ours(pod)
        self.tally.see(pod, home, slot, younger, refused=refused)

    def _account_all(self, uids: Iterable[str]) -> None:
        for uid in uids:
            self._account(self._pods[uid])

    def _policy_changed(self, key: PolicyKey, *versions: LoadedPolicy | None) -> None:
        """`versions` are the policy as it was and as it is: it concerns the pods that one of them
        selects, and those that it has placed."""
        self.waiting.policies_changed(key.namespace, self._shape)
        self.ledger.release_namespace(key.namespace)
        self._recount_flights()
        for pod in self.ledger.doubted():
            self.doubt(pod)
        selectors = [policy.selector for policy in versions if policy is not None]
        placed_by = str(key)
        concerned = [
            pod.uid
            for pod in self.pods_of(key.namespace)
            if pod.annotations.get(POLICY_ANNOTATION) == placed_by
            or any(includes(pod.labels, selector) for selector in selectors)
        ]
        self._account_all(concerned)
        self.changes.edited(key)
        for policy in self.policies.of_namespace(key.namespace):
            self.changes.policy(policy.key)  # it may be in conflict with this one

    def _recount_flights(self) -> None:
        for flight in self.ledger.flights():
            slot = counted(flight.lands, self.home_of(flight.lands)).slot
            if slot != flight.slot:
                self.ledger.recount(flight, slot)

    def _release_pools(self, policy: LoadedPolicy | None) -> None:
        for unit in _units(policy):
            self.nodes.release(unit.pool)

    def _desired(self, keys: Iterable[PolicyKey]) -> dict[PolicyKey, int]:
        """The replicas that are wanted for these policies."""
        return {key: self.workloads.desired(key) for key in keys}

    def _desired_changed(self, namespace: str, before: Mapping[PolicyKey, int]) -> None:
        for key, count in before.items():
            now = self.workloads.desired(key)
            if now < count:
                self.ledger.release_policy(key)  # bind decides anew, under the lower maximum
                self.changes.edited(key)
            if now != count:
                self.waiting.slots_freed([namespace])
                self.changes.policy(key)

    def _with_ratio(self, namespace: str) -> list[PolicyKey]:
        return [
            policy.key
            for policy in self.policies.of_namespace(namespace)
            if isinstance(policy, Policy) and policy.has_ratio
        ]

    def _count_for_ratio(self, pod: Pod, policy: LoadedPolicy | None) -> None:
        """`policy`: that of a live pod."""
        ratio = isinstance(policy, Policy) and policy.has_ratio
        key = policy.key if policy is not None and ratio else None
        if not self.workloads.is_news(pod.uid, key, pod.owner):
            return
        concerned = (key, self.workloads.policy_of(pod.uid))
        before = self._desired(each for each in concerned if each is not None)
        self.workloads.count_pod(pod.uid, key, pod.owner)
        self._desired_changed(pod.namespace, before)


def _units(policy: LoadedPolicy | None) -> Sequence[Unit]:
    return policy.units if isinstance(policy, Policy) else ()


def _discard(index: dict[str, set[str]], key: str, uid: str) -> None:
    members = index.get(key)
    if members is not None:
        members.discard(uid)
        if not members:
            del index[key]
