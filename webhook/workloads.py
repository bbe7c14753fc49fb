"""The workloads of a namespace, read when a policy is reviewed that gives labels to pods."""

import asyncio
import logging

import msgspec

from spillover.api.kubernetes import TemplatedWorkload
from spillover.core.model.workloads import WORKLOAD_KINDS
from spillover.kube.pages import page
from spillover.kube.reading import Unreadable, readable
from spillover.kube.session import ApiError, ApiSession, NoAnswerError

_SECONDS = 1.5
"""The review must be answered within timeoutSeconds of the webhook configuration, which is 5."""
_MOST = 500
"""Workloads of one kind that are read. Warnings say nothing of the others."""
_WORKLOADS = msgspec.json.Decoder(TemplatedWorkload)

_log = logging.getLogger(__name__)


class WorkloadReader:
    def __init__(self, session: ApiSession) -> None:
        self._session = session

    async def of_namespace(self, namespace: str) -> list[TemplatedWorkload]:
        """The Deployments, ReplicaSets and StatefulSets of the namespace, at most 500 of each kind.
        Without those that the API server does not return in time: they are only for warnings."""
        found = await asyncio.gather(*(self._of_kind(namespace, kind) for kind in WORKLOAD_KINDS))
        return [workload for of_kind in found for workload in of_kind]

    async def _of_kind(self, namespace: str, kind: str) -> list[TemplatedWorkload]:
        path = f"/apis/apps/v1/namespaces/{namespace}/{kind}"
        try:
            content = await self._session.request(
                "GET", path, params={"limit": str(_MOST)}, seconds=_SECONDS
            )
            items = page(content).items or ()
        except (ApiError, NoAnswerError, msgspec.MsgspecError) as error:
            _log.warning("%s: %s", path, error)
            return []
        read = (readable(raw, _WORKLOADS.decode) for raw in items)
        return [each for each in read if not isinstance(each, Unreadable)]
