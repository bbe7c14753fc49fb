"""The workloads of a namespace, read when a policy is reviewed that gives labels to pods."""

import asyncio
import logging

import msgspec

from spillover.api.kubernetes import TemplatedWorkload
from spillover.kube.pages import page
from spillover.kube.reading import Unreadable, readable
from spillover.kube.session import ApiError, ApiSession, NoAnswerError

_SECONDS = 1.5
"""The review must be answered within timeoutSeconds of the webhook configuration, which is 5."""
_PAGE = 20
"""Objects of one page: with the largest that an API server stores, 30 MiB."""
_MOST_BYTES = 16 * 2**20
"""After so many bytes no further page is read. Warnings say nothing of the other workloads."""
_KINDS = ("deployments", "statefulsets", "replicasets")
_WORKLOADS = msgspec.json.Decoder(TemplatedWorkload)

_log = logging.getLogger(__name__)


class WorkloadReader:
    """Reads for one review at a time: its memory is bounded."""

    def __init__(self, session: ApiSession) -> None:
        self._session = session
        self._turn = asyncio.Lock()

    async def of_namespace(self, namespace: str) -> list[TemplatedWorkload]:
        """Deployments, StatefulSets and ReplicaSets of the namespace. Without those that do not
        come in time, and without those beyond a size: they are only for warnings."""
        found: list[TemplatedWorkload] = []
        try:
            async with asyncio.timeout(_SECONDS), self._turn:
                await self._read(namespace, found)
        except TimeoutError:
            _log.warning("not all workloads were read", extra={"namespace": namespace})
        except (ApiError, NoAnswerError, msgspec.MsgspecError) as error:
            where = {"namespace": namespace, "reason": str(error)}
            _log.warning("not all workloads were read", extra=where)
        return found

    async def _read(self, namespace: str, found: list[TemplatedWorkload]) -> None:
        size = 0
        for kind in _KINDS:
            path, token = f"/apis/apps/v1/namespaces/{namespace}/{kind}", ""
            while size < _MOST_BYTES:
                params = {"limit": str(_PAGE), **({"continue": token} if token else {})}
                content = await self._session.request("GET", path, params=params)
                size += len(content)
                listed = page(content)
                read = (readable(raw, _WORKLOADS.decode) for raw in listed.items or ())
                found += [each for each in read if not isinstance(each, Unreadable)]
                token = listed.metadata.continue_
                if not token:
                    break
