"""The audit trail: the decision on each pod and its reason. Each decision that changes something is
one line of the log, and an Event."""

from collections.abc import Callable
from math import inf

from cachetools import LRUCache

from spillover.controller.audit import audit
from spillover.controller.objects import of_pod, of_policy
from spillover.controller.recorder import REPEAT_SECONDS, Recorder
from spillover.core.cache.binding_plan import BindingPlan
from spillover.core.decision.outcomes import Rejected, because
from spillover.core.decision.reasons import NOT_FIRST_CHOICE
from spillover.core.model.pods import Pod
from spillover.core.model.policy import LoadedPolicy
from spillover.core.reporting.decision_events import (
    on_pod_bound,
    on_pod_rejected,
    on_policy_bound,
    on_policy_rejected,
)

MOST_PODS = 100_000


class DecisionLog:
    """Records decisions in the audit log and in Events.

    The scheduler asks again and again, so the log gets a line only when the answer is a different
    one. An Event is also repeated once an hour, because the API server deletes it after an hour.
    `clock` returns seconds."""

    def __init__(self, recorder: Recorder, clock: Callable[[], float]) -> None:
        self._recorder = recorder
        self._clock = clock
        self._said: LRUCache[str, tuple[object, float]] = LRUCache(MOST_PODS)

    def rejected(
        self, pod: Pod, rejected: Rejected, policy_of: Callable[[Pod], LoadedPolicy | None]
    ) -> None:
        """Records that filter has found no node for the pod. A repeated answer is cheap."""
        what = _gist(rejected)
        if what is None:
            return
        before, told = self._said.get(pod.uid, (None, -inf))
        if before == what and self._clock() - told < REPEAT_SECONDS:
            return
        self._said[pod.uid] = (what, self._clock())
        policy = policy_of(pod)
        if before != what:
            stays = rejected.stays
            why = stays.reason if stays is not None else because(rejected.passed)
            audit.info(
                "not placed",
                extra={
                    **_where(pod, policy),
                    "unit": stays.unit.title if stays is not None else "",
                    "reason": why or "; ".join(sorted(rejected.causes)),
                },
            )
        if event := on_pod_rejected(rejected):
            self._recorder.record(of_pod(pod), event)
        if policy is not None and not policy.key.is_implicit:
            for event in on_policy_rejected(rejected):
                self._recorder.record(of_policy(policy), event)

    def bound(self, plan: BindingPlan) -> None:
        """Records that the pod is bound to its node."""
        self._said.pop(plan.pod.uid, None)
        policy = plan.policy
        audit.info(
            "bound",
            extra={
                **_where(plan.pod, policy),
                "unit": plan.unit.title if plan.unit is not None else "",
                "node": plan.node,
                "place": plan.place,
                "reason": because(plan.passed) or _FIRST,
            },
        )
        if event := on_pod_bound(plan):
            self._recorder.record(of_pod(plan.pod), event)
        if policy is not None and not policy.key.is_implicit:
            for event in on_policy_bound(plan):
                self._recorder.record(of_policy(policy), event)


_FIRST = "the first that takes it"


def _gist(rejected: Rejected) -> object:
    """The part of the answer that does not depend on the offered nodes: equal answers have equal
    gists. Returns None if there is no final answer yet: filter was asked for the nominated node
    alone, and a call with all nodes follows."""
    if rejected.stays is not None:
        return rejected.stays.reason
    if rejected.passed:
        return because(rejected.passed)
    return None if NOT_FIRST_CHOICE in rejected.causes else rejected.causes


def _where(pod: Pod, policy: LoadedPolicy | None) -> dict[str, str]:
    return {
        "namespace": pod.namespace,
        "pod": pod.name,
        "policy": str(policy.key) if policy is not None else "",
    }
