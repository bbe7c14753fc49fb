"""The decisions behind the scheduler's calls of filter, preempt and bind, and the pods to nudge."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace

from spillover.api.labels import MAX_ANNOTATIONS_BYTES, annotations_size
from spillover.core.cache.binding_plan import BindingPlan, Place, annotations_for, labels_for
from spillover.core.cache.cluster import ClusterCache
from spillover.core.cache.crowds import Wait
from spillover.core.cache.ledger import Ledger
from spillover.core.cache.repeats import Repeats
from spillover.core.cache.unschedulable import EquivalenceClass, Outlook, Prospect
from spillover.core.decision.limits import Usage
from spillover.core.decision.outcomes import (
    AtMax,
    Evicting,
    Passed,
    Placement,
    Reasons,
    Rejected,
    Stay,
    Waiting,
)
from spillover.core.decision.placement import (
    Decision,
    assign_unit,
    decide,
    is_first_choice,
    is_held,
    preemptable_units,
)
from spillover.core.decision.preemption import choose
from spillover.core.decision.reasons import EDITS_PENDING, NOT_FIRST_CHOICE, in_a_crowd
from spillover.core.model.nodes import Names
from spillover.core.model.pods import Pod
from spillover.core.model.policy import LoadedPolicy, Policy, PolicyKey, Unit, UnitKey
from spillover.core.model.timestamps import AFTER_ALL

PREEMPT_SECONDS = 0.3
"""From filter's refusal of every node to the scheduler's preempt call, in the same attempt."""


class Scheduler:
    """Decides from the state in `cluster`. Every method runs in one step of the event loop, so that
    nothing changes between a check and the reservation that follows it."""

    def __init__(self, cluster: ClusterCache) -> None:
        self.cluster = cluster
        self._repeats = Repeats(cluster.ledger, cluster.workloads)

    def obstacle(self, pod: Pod) -> str | None:
        """Why no decision is possible for a pod that, for the scheduler, is waiting. Else None."""
        known = self.cluster.pod(pod.uid)
        if known is not None and known.unreadable and known.version >= pod.version:
            return f"Spillover cannot read this pod: {known.unreadable}"
        if not self.cluster.is_ours(pod):
            return f"the pod's scheduler {pod.scheduler!r} is not in the extender's --schedulers"
        if known is not None and known.version > pod.version and not known.is_waiting:
            return "the pod is bound, being deleted or finished already"
        if obstacle := self.cluster.term.obstacle(pod.namespace, pod.epoch):
            return obstacle
        if self.cluster.ledger.in_flight(pod.uid):
            return "another binding of this pod is under way"
        if self.cluster.ledger.is_bound(pod.uid):
            return "the pod is bound already"
        if self.cluster.is_gone(pod):
            return "the pod is gone"
        return None

    def place(self, pod: Pod, names: Sequence[str]) -> Decision:
        """Decides, reserves a placement, and remembers a rejection. `pod` is the scheduler's view,
        and `names` are the nodes that it offers. The caller checks first that there is no
        obstacle, and does not change `names` later."""
        offered = Names(names)
        self.cluster.learn(pod)
        policy = self.cluster.policy_of(pod)
        self.cluster.waiting.tried(pod, policy.key if policy is not None else None)
        if self.cluster.edits.is_pending(pod.namespace):
            return self._put_off(pod, offered)
        decision = self._decide(pod, policy, offered)
        if len(names) != 1 or names[0] != pod.nominated:
            self.cluster.attempts.call_is_full(pod.uid)
        elif not self._is_wanted(pod, decision) and self.cluster.attempts.refuse_probe(pod):
            # The nomination is another component's hint, not the choice among all nodes. The
            # scheduler's call with all nodes follows at once.
            self.cluster.ledger.release(pod.uid)
            return Rejected(Reasons.same(offered, NOT_FIRST_CHOICE))
        if isinstance(decision, Rejected):
            self.cluster.ledger.release(pod.uid)
            return self._remember(pod, policy, offered, decision)
        self._reserve(pod, decision)
        self.cluster.waiting.placed(pod.uid)
        self.cluster.attempts.placed(pod.uid)
        return decision

    def preempt(self, pod: Pod, victims: Mapping[str, Sequence[str]]) -> Set[str]:
        """The nodes in `victims` whose victims (uids) may be evicted for the pod. The caller checks
        first that there is no obstacle."""
        if self.cluster.edits.is_pending(pod.namespace):
            return frozenset()
        policy = self.cluster.policy_of(pod)
        known = {name: [self.cluster.pod(uid) for uid in uids] for name, uids in victims.items()}
        only = self.cluster.attempts.trying(pod.uid)
        demand = self.cluster.demand_of(pod)
        eviction = choose(
            pod, demand, policy, known, self.cluster.view(), self.cluster.counts_under, only
        )
        if eviction.nodes and eviction.unit is not None:
            self.cluster.ledger.hold(pod, eviction.unit)
            self.cluster.waiting.demand_changed(pod.uid, self.cluster.equivalence_of)
        return eviction.nodes

    def due_nudges(self) -> list[Pod]:
        """Waiting pods that filter would place now, by the present state, but that the scheduler
        would not retry by itself. At most as many as there are slots: see
        `spillover.core.cache.unschedulable`."""
        for uid in self.cluster.ledger.take_let_go():
            self.cluster.waiting.demand_changed(uid, self.cluster.equivalence_of)
        freed = self.cluster.ledger.take_freed()
        self.cluster.waiting.slots_freed({unit.policy.namespace for unit in freed})
        for unit in freed:
            self.cluster.dirty.policy(unit.policy)
        due = self.cluster.waiting.due(self._prospect)
        for namespace in self.cluster.waiting.crowds.take_changed():
            for policy in self.cluster.policies.of_namespace(namespace):
                # The webhook reads the policy's status, so the status must change without delay.
                self.cluster.dirty.edited(policy.key)
        return due

    def plan_binding(self, uid: str, node: str) -> BindingPlan | str:
        """The right to bind, or the reason against it. If the reservation is gone, or was made
        under another policy than the pod has now, this method decides again for this node alone,
        and makes a new reservation if the node is still allowed."""
        pod = self._newest(uid, node)
        if pod is None:
            return "the pod is not known to Spillover yet"
        if obstacle := self.obstacle(pod):
            return obstacle
        if self.cluster.edits.is_pending(pod.namespace):
            return EDITS_PENDING
        if pod.node or pod.terminating or pod.finished:
            return "the pod is bound, being deleted or finished already"
        self.cluster.learn(pod)
        policy = self.cluster.policy_of(pod)
        reservation = self.cluster.ledger.reservation(uid, node)
        if reservation is None or reservation.policy != (policy.key if policy else None):
            decision = self._decide(pod, policy, Names([node]))
            if isinstance(decision, Rejected):
                # An existing reservation stays until filter's next answer for the pod.
                return decision.reasons[node]
            # A decision with one node cannot know whether earlier units have other nodes. Only
            # their maxima are known.
            at_max = tuple(each for each in decision.passed if isinstance(each, AtMax))
            self._reserve(pod, replace(decision, passed=at_max))
            reservation = self.cluster.ledger.reservation(uid, node)
        if reservation is None:
            raise AssertionError("a placement on a node reserves that node")
        unit = None
        if isinstance(policy, Policy) and reservation.slot.unit is not None:
            unit = policy.unit(reservation.slot.unit.unit)
        labels, kept = labels_for(pod, unit, self.cluster.workloads) if unit else ({}, frozenset())
        annotations = annotations_for(pod, policy, unit, self.cluster.slot_numbers)
        if annotations_size({**pod.annotations, **annotations}) > MAX_ANNOTATIONS_BYTES:
            self.cluster.ledger.release(uid)
            return "the pod's annotations and those of the unit are too large together"
        lands = replace(
            pod,
            node=node,
            labels={**pod.labels, **labels},
            annotations={**pod.annotations, **annotations},
            since=AFTER_ALL,  # the binding starts now, after every policy was created
        )
        return BindingPlan(
            pod=pod,
            node=node,
            flight=self.cluster.ledger.start_binding(lands),
            policy=policy,
            unit=unit,
            labels=labels,
            annotations=annotations,
            tolerate=self.cluster.nodes.evictions(node, pod.tolerations)
            if unit and unit.virtual
            else (),
            place=_place(policy, unit),
            passed=reservation.passed,
            kept=kept,
        )

    def binding_refused(self, plan: BindingPlan, reason: str) -> None:
        """The API server has refused the binding because of what the plan's unit writes. It would
        refuse the same binding again."""
        if plan.policy is not None and plan.unit is not None:
            self.cluster.refusals.refused(plan.policy.key, plan.unit.identity, reason)
            self.cluster.dirty.policy(plan.policy.key)

    def binding_accepted(self, plan: BindingPlan) -> None:
        policy, unit = plan.policy, plan.unit
        if policy is None or unit is None:
            return
        is_news = self.cluster.refusals.bound(policy.key, unit.identity)
        for key in sorted(plan.kept):
            kept = self.cluster.kept_labels.kept(policy.key, unit.identity, key, plan.pod.uid)
            is_news = is_news or kept
        if is_news:
            self.cluster.dirty.policy(policy.key)

    # --- internal -------------------------------------------------------------------------------

    def _put_off(self, pod: Pod, offered: Names) -> Rejected:
        """A rejection without a decision. It repeats the reason of the last rejection, if there was
        one: for a new reason, the scheduler would write to the pod."""
        self.cluster.ledger.release(pod.uid)
        told = self.cluster.waiting.told(pod.uid)
        reason = next(iter(told)) if len(told) == 1 else EDITS_PENDING
        put_off = Rejected(Reasons.same(offered, reason))
        wait = self.cluster.waiting.crowds.wait_of(pod.uid)
        alike = self.cluster.equivalence_of(pod)
        self.cluster.waiting.rejected(pod, *alike, offered.known, put_off.causes, wait=wait)
        return put_off

    def _decide(self, pod: Pod, policy: LoadedPolicy | None, offered: Names) -> Decision:
        decision = self._found(pod, policy, offered)
        resting = self._resting(decision)
        if resting is None:
            return decision
        return Rejected(Reasons.same(offered, resting.reason), resting)

    def _resting(self, found: object) -> Waiting | None:
        """If the API server refuses bindings in the unit for now, the pod waits for this unit."""
        if not isinstance(found, Placement) or found.policy is None or found.unit is None:
            return None
        refusal = self.cluster.refusals.resting(found.policy.key, found.unit.identity)
        if refusal is None:
            return None
        return Waiting(found.unit, f"{found.unit.title}: {refusal.reason}", until=refusal.until)

    def _found(self, pod: Pod, policy: LoadedPolicy | None, offered: Names) -> Decision:
        demand = self.cluster.demand_under(pod, policy)
        repeats = self._repeats
        basis = repeats.basis(pod.uid, demand, policy, self.cluster.nodes.revision)
        if basis is not None:
            offered.share(self.cluster.waiting.shared)
            if (again := repeats.answer(demand, offered.known, basis)) is not None:
                return again
        decision = decide(pod.uid, demand, offered, policy, self.cluster.view())
        if isinstance(decision, Rejected):
            if basis is None:
                repeats.note(demand, policy)
            else:
                repeats.keep(demand, offered.known, basis, decision)
        return decision

    def _reserve(self, pod: Pod, placement: Placement) -> None:
        policy = placement.policy
        key = policy.key if policy is not None else None
        nodes, passed = Names.of(placement.nodes), placement.passed
        self.cluster.ledger.reserve(pod, key, placement.unit_key, nodes, passed)
        if key is not None:
            # Other pods that wait for this slot are held back now.
            self.cluster.dirty.policy(key)
        if isinstance(policy, Policy) and policy.waits_for_a_time:
            # The unit may be at its limit now: pods that wait for its nodes go on.
            self.cluster.waiting.slots_freed([pod.namespace])

    def _is_wanted(self, pod: Pod, decision: Decision) -> bool:
        """Whether the pod goes to its nominated node, regardless of other nodes."""
        if not isinstance(decision, Placement):
            return False
        held = self.cluster.ledger.held(pod.uid)
        if held is not None and held == decision.unit_key:
            return True  # the nomination follows from our own answer to preempt
        return is_first_choice(decision)

    def _remember(
        self, pod: Pod, found: LoadedPolicy | None, offered: Names, decision: Rejected
    ) -> Rejected:
        """Returns the answer to the scheduler. In a crowd, the answer is one short reason that does
        not change with edits of the units: the scheduler writes a changed reason to every pod."""
        stays, told = decision.stays, decision
        held = is_held(found, stays, decision.passed)
        is_crowded = self.cluster.waiting.crowds.is_crowded(pod.namespace)
        if is_crowded and (reason := in_a_crowd(found, decision)):
            told = replace(decision, reasons=Reasons.same(offered, reason))
        waits = ""
        self.cluster.note_waits(pod, decision.passed, stays)
        match stays:
            case Waiting(unit=unit, since=float()):
                waits = unit.identity
            case Waiting(unit=unit, until=float()):
                waits = unit.identity  # the rest of a unit with refused bindings ends by itself
            case Evicting(unit=unit):
                self.cluster.attempts.try_in(pod, unit.identity)
        demand = self.cluster.demand_under(pod, found)
        self.cluster.waiting.rejected(
            pod,
            found.key if found is not None else None,
            demand,
            offered.known,
            told.causes,
            Outlook(
                waits,
                preemptable_units(
                    stays, decision.passed, pod.uid, demand, found, self.cluster.view()
                ),
            ),
            rest_seconds=PREEMPT_SECONDS if isinstance(stays, Evicting) else 0.0,
            wait=Wait.HELD if held else Wait.SEEKING,
        )
        return told

    def _prospect(
        self, pod: Pod, alike: EquivalenceClass, held: Mapping[UnitKey, Usage]
    ) -> Prospect:
        """What another call of filter would lead to, if slots in `held` count as taken: a
        placement, the end of a wait, or preemption in a unit that had no room for it before. A
        gated pod may also lose its gate so that an autoscaler sees it."""
        if self.cluster.edits.is_pending(pod.namespace):
            return Prospect(False)  # the next look follows when the edits are applied
        if alike.gated and not self.cluster.waiting.may_let_out(pod.namespace, alike.policy):
            return Prospect(False)
        world = self.cluster.view(_WithHeld(self.cluster.ledger, held))
        policy, demand = self.cluster.policy_of(pod), alike.demand
        names = self.cluster.nodes.names() if alike.offered is None else alike.offered
        found = assign_unit(pod.uid, demand, names, policy, world)
        resting = self._resting(found.outcome)
        if isinstance(found.outcome, Placement) and resting is None:
            return Prospect(True, found.outcome.unit_key)
        stays = resting or found.stays
        timed = isinstance(stays, Waiting) and stays.until is not None
        waits = stays.unit.identity if stays is not None and timed else ""
        if alike.outlook.waits and alike.outlook.waits != waits:
            return Prospect(True)
        if (unit := _beginning_wait(policy, alike, stays)) is not None:
            return Prospect(True, unit)  # the answer of filter begins the wait
        if isinstance(policy, Policy) and not timed:
            units = preemptable_units(stays, found.passed, pod.uid, demand, policy, world)
            gains = units - alike.outlook.hopes
            first = next((unit for unit in policy.units if unit.identity in gains), None)
            if first is not None:
                return Prospect(True, UnitKey(policy.key, first.identity, demand.group))
        if alike.gated and self._may_leave_gate(pod, policy, stays, found.passed):
            return Prospect(True)
        if isinstance(stays, Waiting) and stays.until is not None:
            return Prospect(False, seconds=stays.until - world.now)
        return Prospect(False)

    def _may_leave_gate(
        self, pod: Pod, policy: LoadedPolicy | None, stays: Stay | None, passed: Sequence[Passed]
    ) -> bool:
        """Whether a gated pod without a placement may lose its gate: it is under no policy, another
        scheduler places it, or a new node would help it."""
        is_free = policy is None or not self.cluster.is_ours(pod)
        return is_free or not is_held(policy, stays, passed)

    def _newest(self, uid: str, node: str) -> Pod | None:
        """The newer of two views of the pod: the scheduler's and the watch's."""
        reservation = self.cluster.ledger.reservation(uid, node)
        views = [self.cluster.pod(uid), reservation.pod if reservation is not None else None]
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


def _beginning_wait(
    policy: LoadedPolicy | None, alike: EquivalenceClass, stays: Stay | None
) -> UnitKey | None:
    """The unit where a timed wait of a pod that is not gated would begin now, or None."""
    if policy is None or alike.gated or not isinstance(stays, Waiting) or stays.since is None:
        return None
    if stays.unit.identity in dict(alike.demand.waits):
        return None
    return UnitKey(policy.key, stays.unit.identity, alike.demand.group)


@dataclass(frozen=True, slots=True)
class _WithHeld:
    """The ledger, plus the slots that are held for nudged pods."""

    ledger: Ledger
    held: Mapping[UnitKey, Usage]

    def usage(self, unit: UnitKey, besides: str) -> Usage:
        used, held = self.ledger.usage(unit, besides), self.held.get(unit)
        return used if held is None else used + held

    def has_terminating(self, policy: PolicyKey, unit: str) -> bool:
        return self.ledger.has_terminating(policy, unit)
