"""The audit trail: what became of each pod and why, in one line of the log for each decision that
changed something, and in Events."""

import logging

from cachetools import LRUCache

from spillover.controller.objects import of_pod, of_policy
from spillover.controller.recorder import Recorder
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
    """The scheduler asks again and again: only what is another answer is written."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._said: LRUCache[str, frozenset[str]] = LRUCache(MOST_PODS)

    def is_news(self, pod: Pod, rejected: Rejected) -> bool:
        """Whether the pod was not rejected for the same reasons last time. Cheap."""
        return self._said.get(pod.uid) != rejected.causes

    def rejected(self, pod: Pod, policy: LoadedPolicy | None, rejected: Rejected) -> None:
        """Filter has found no place for the pod."""
        self._said[pod.uid] = rejected.causes
        stays = rejected.stays
        audit.info(
            "not placed",
            extra={
                **_where(pod, policy),
                "unit": stays.unit.title if stays is not None else "",
                "reason": stays.reason if stays is not None else "; ".join(sorted(rejected.causes)),
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


def _where(pod: Pod, policy: LoadedPolicy | None) -> dict[str, str]:
    return {
        "namespace": pod.namespace,
        "pod": pod.name,
        "policy": str(policy.key) if policy is not None else "",
    }
