"""What the scheduler asks of the cluster's state, and who is to be tried again."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace

from spillover.api.labels import MAX_ANNOTATIONS_BYTES, annotations_size
from spillover.core.claims import Claim, Place, annotations_for, labels_for
from spillover.core.instants import AFTER_ALL
from spillover.core.ledger import Ledger
from spillover.core.limits import Usage
from spillover.core.placement import Decision, decide, find, is_first_choice, may_gain
from spillover.core.pods import Pod
from spillover.core.policy import LoadedPolicy, Policy, PolicyKey, Unit, UnitKey
from spillover.core.preemption import choose
from spillover.core.state import ClusterState
from spillover.core.verdicts import AtMax, Evicting, Placement, Rejected, Waiting
from spillover.core.waiting import Outlook, Prospect, Shape

PREEMPT_SECONDS = 0.3
"""From filter's refusal of every node to the scheduler's call of preempt, in the same attempt."""

NOT_FIRST_CHOICE = "node(s) were nominated, and are not the pod's first choice"


class SchedulingCache(ClusterState):
    """The state, with what the scheduler asks of it. Every method runs in one step of the event
    loop, so that a check and the reservation that follows from it cannot be parted."""

    def obstacle(self, pod: Pod) -> str | None:
        """Why nothing can be decided for a pod that the scheduler believes to be waiting."""
        known = self._pods.get(pod.uid)
        if known is not None and known.unreadable and known.version >= pod.version:
            return f"Spillover cannot read this pod: {known.unreadable}"
        if pod.scheduler not in self._schedulers:
            return f"the pod's scheduler {pod.scheduler!r} is not in the extender's --schedulers"
        if obstacle := self.term.obstacle(pod.namespace, pod.epoch):
            return obstacle
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
        self.learn(pod)
        decision = self._decide(pod, offered)
        if list(offered) != [pod.nominated]:
            self.histories.call_is_full(pod.uid)
        elif not self._is_wanted(pod, decision) and self.histories.refuse_probe(pod):
            # Somebody's hint, not the choice among all nodes, which follows at once.
            self.ledger.release(pod.uid)
            return Rejected(dict.fromkeys(offered, NOT_FIRST_CHOICE))
        self._reserve(pod, decision)
        if isinstance(decision, Placement):
            self.waiting.forget(pod.uid)
            self.histories.placed(pod.uid)
        else:
            self._remember(pod, offered, decision)
        return decision

    def preempt(self, pod: Pod, victims: Mapping[str, Sequence[str]]) -> Set[str]:
        """The nodes, of those that `victims` has, whose victims (by uid) may be evicted for the
        pod. There must be no obstacle."""
        policy = self.policy_of(pod)
        known = {name: [self._pods.get(uid) for uid in uids] for name, uids in victims.items()}
        only = self.histories.trying(pod.uid)
        demand = self.demand_of(pod)
        eviction = choose(pod, demand, policy, known, self.world(), self._counts_under, only)
        if eviction.nodes and eviction.unit is not None:
            self.ledger.hold(pod, eviction.unit)
            self.waiting.demand_changed(pod.uid, self._shape)
        return eviction.nodes

    def due_nudges(self) -> list[Pod]:
        """Waiting pods that filter would place now, for all we know, and that nobody tells the
        scheduler to try again: as many as there are slots. See `spillover.core.waiting`."""
        for uid in self.ledger.take_let_go():
            self.waiting.demand_changed(uid, self._shape)
        freed = self.ledger.take_freed()
        self.waiting.slots_freed({unit.policy.namespace for unit in freed})
        for unit in freed:
            self.changes.policy(unit.policy)
        return self.waiting.due(self._prospect)

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
        policy = self.policy_of(pod)
        reservation = self.ledger.reservation(uid, node)
        if reservation is None or reservation.policy != (policy.key if policy else None):
            decision = self._decide(pod, [node])
            if isinstance(decision, Rejected):
                return decision.reasons[node]  # what filter has reserved ends with its next answer
            # Of the units before, only what one node does not tell is known.
            at_max = tuple(each for each in decision.passed if isinstance(each, AtMax))
            self._reserve(pod, replace(decision, passed=at_max))
            reservation = self.ledger.reservation(uid, node)
        if reservation is None:
            raise AssertionError("a placement on a node reserves that node")
        unit = None
        if isinstance(policy, Policy) and reservation.slot.unit is not None:
            unit = policy.unit(reservation.slot.unit.unit)
        labels = labels_for(pod, unit) if unit else {}
        annotations = annotations_for(pod, policy, unit)
        if annotations_size({**pod.annotations, **annotations}) > MAX_ANNOTATIONS_BYTES:
            self.ledger.release(uid)
            return "the pod's annotations and those of the unit are too large together"
        lands = replace(
            pod,
            node=node,
            labels={**pod.labels, **labels},
            annotations={**pod.annotations, **annotations},
            since=AFTER_ALL,  # its binding is under way: after every policy
        )
        return Claim(
            pod=pod,
            node=node,
            flight=self.ledger.start_binding(lands),
            policy=policy,
            unit=unit,
            labels=labels,
            annotations=annotations,
            tolerate=self.nodes.evictions(node, pod.tolerations) if unit and unit.virtual else (),
            place=_place(policy, unit),
            passed=reservation.passed,
        )

    # --- within ---------------------------------------------------------------------------------

    def _decide(self, pod: Pod, offered: Sequence[str]) -> Decision:
        policy = self.policy_of(pod)
        return decide(pod, offered, policy, self.world(), self._history(pod, policy))

    def _reserve(self, pod: Pod, decision: Decision) -> None:
        match decision:
            case Placement():
                policy = self.policy_of(pod)
                key = policy.key if policy is not None else None
                passed = decision.passed
                self.ledger.reserve(pod, key, decision.unit_key, decision.nodes, passed)
                if key is not None:
                    self.changes.policy(key)  # others that wait for the slot are held back now
            case Rejected():
                self.ledger.release(pod.uid)

    def _is_wanted(self, pod: Pod, decision: Decision) -> bool:
        """Whether the pod goes to its nominated node, whatever other nodes there are."""
        if not isinstance(decision, Placement):
            return False
        held = self.ledger.held(pod.uid)
        if held is not None and held == decision.unit_key:
            return True  # we have nominated it
        demand = self.demand_of(pod)
        return is_first_choice(decision, pod.uid, demand, self.world())

    def _remember(self, pod: Pod, offered: Sequence[str], decision: Rejected) -> None:
        stays = decision.stays
        waits = ""
        match stays:
            case Waiting(unit=unit, since=float(since)):
                self.histories.wait(pod, unit.identity, since)
                waits = unit.identity
            case Evicting(unit=unit):
                self.histories.try_in(pod, unit.identity)
        policy, demand = self._shape(pod)
        self.waiting.rejected(
            pod,
            policy,
            demand,
            frozenset(offered),
            decision.causes,
            Outlook(waits, may_gain(pod.uid, demand, self.policy_of(pod), self.world())),
            rest_seconds=PREEMPT_SECONDS if isinstance(stays, Evicting) else 0.0,
        )

    def _prospect(self, pod: Pod, shape: Shape, held: Mapping[UnitKey, Usage]) -> Prospect:
        """What another call of filter would lead to, with the slots that are held for others
        counted: a placement, the end of a wait, or preemption where there was no room for it."""
        world = self.world(_WithHeld(self.ledger, held))
        policy, demand = self.policy_of(pod), shape.demand
        names = self.nodes.names() if shape.offered is None else shape.offered
        found = find(pod.uid, demand, names, policy, world)
        if isinstance(found, Placement):
            return Prospect(True, found.unit_key)
        timed = isinstance(found, Waiting) and found.until is not None
        waits = found.unit.identity if found is not None and timed else ""
        if shape.outlook.waits and shape.outlook.waits != waits:
            return Prospect(True)
        gains = may_gain(pod.uid, demand, policy, world) - shape.outlook.hopes
        if gains and isinstance(policy, Policy) and not timed:
            first = next(unit.identity for unit in policy.units if unit.identity in gains)
            return Prospect(True, UnitKey(policy.key, first, demand.group))
        if isinstance(found, Waiting) and found.until is not None:
            return Prospect(False, seconds=found.until - world.now)
        return Prospect(False)

    def _newest(self, uid: str, node: str) -> Pod | None:
        """The scheduler's view of the pod or the watch's, whichever is newer."""
        reservation = self.ledger.reservation(uid, node)
        views = [self._pods.get(uid), reservation.pod if reservation is not None else None]
        return max(
            (view for view in views if view is not None),
            key=lambda view: view.version,
            default=None,
        )


def _place(policy: LoadedPolicy | None, unit: Unit | None) -> Place:
    if not isinstance(policy, Policy):
        return Place.UNMANAGED
    if unit is None:
        return Place.OUTSIDE
    return Place.FIRST if unit is policy.units[0] else Place.SPILLED


@dataclass(frozen=True, slots=True)
class _WithHeld:
    """The ledger, with what is held for nudged pods."""

    ledger: Ledger
    held: Mapping[UnitKey, Usage]

    def usage(self, unit: UnitKey, besides: str) -> Usage:
        used, held = self.ledger.usage(unit, besides), self.held.get(unit)
        return used if held is None else used + held

    def has_terminating(self, policy: PolicyKey, unit: str) -> bool:
        return self.ledger.has_terminating(policy, unit)
