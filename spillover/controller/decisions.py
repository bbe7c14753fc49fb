"""The audit trail: what became of each pod and why, in one line of the log for each decision that
changed something, and in Events."""

import logging
from collections.abc import Callable
from math import inf

from cachetools import LRUCache

from spillover.controller.objects import of_pod, of_policy
from spillover.controller.recorder import REPEAT_SECONDS, Recorder
from spillover.core.cache import NOT_FIRST_CHOICE
from spillover.core.claims import Claim
from spillover.core.happenings import (
    on_pod_bound,
    on_pod_rejected,
    on_policy_bound,
    on_policy_rejected,
)
from spillover.core.pods import Pod
from spillover.core.policy import LoadedPolicy
from spillover.core.verdicts import Rejected, because

MOST_PODS = 100_000

audit = logging.getLogger("spillover.audit")
"""One line for each decision that changed something, with the reason."""


class DecisionLog:
    """The scheduler asks again and again: only what is another answer is written, and told as an
    Event, which goes after an hour, once an hour. `clock` gives seconds."""

    def __init__(self, recorder: Recorder, clock: Callable[[], float]) -> None:
        self._recorder = recorder
        self._clock = clock
        self._said: LRUCache[str, tuple[object, float]] = LRUCache(MOST_PODS)

    def rejected(
        self, pod: Pod, rejected: Rejected, policy_of: Callable[[Pod], LoadedPolicy | None]
    ) -> None:
        """Filter has found no place for the pod. Cheap if it has said so before."""
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
        if happening := on_pod_rejected(rejected):
            self._recorder.record(of_pod(pod), happening)
        if policy is not None and not policy.key.is_implicit:
            for happening in on_policy_rejected(rejected):
                self._recorder.record(of_policy(policy), happening)

    def bound(self, claim: Claim) -> None:
        """The pod is on its node."""
        self._said.pop(claim.pod.uid, None)
        policy = claim.policy
        audit.info(
            "bound",
            extra={
                **_where(claim.pod, policy),
                "unit": claim.unit.title if claim.unit is not None else "",
                "node": claim.node,
                "place": claim.place,
                "reason": because(claim.passed) or _FIRST,
            },
        )
        if happening := on_pod_bound(claim):
            self._recorder.record(of_pod(claim.pod), happening)
        if policy is not None and not policy.key.is_implicit:
            for happening in on_policy_bound(claim):
                self._recorder.record(of_policy(policy), happening)


_FIRST = "the first that takes it"


def _gist(rejected: Rejected) -> object:
    """What is the same while the answer is, whichever nodes were offered. None for what is no
    answer yet: a look at one node, which a call with all of them follows."""
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
