"""Writes Events about pods and policies that do not decode."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

from spillover.controller.recorder import Recorder
from spillover.core.reporting.decision_events import DecisionEvent, Reason
from spillover.kube.events import Regarding
from spillover.kube.reading import Unreadable
from spillover.kube.reflector import Reflector

_LOOK_SECONDS = 5.0


class UnreadableObjects:
    """Records one Event an hour for each object. The recorder limits the repetition."""

    def __init__(self, watches: Sequence[Reflector[Any]], recorder: Recorder) -> None:
        self._watches = watches
        self._recorder = recorder

    async def run(self) -> None:
        """Looks for objects that do not decode. Never returns."""
        while True:
            for watch in self._watches:
                for found in list(watch.unreadable.values()):
                    for regarding in _regarding(watch.path, found):
                        self._recorder.record(regarding, _event(found))
            await asyncio.sleep(_LOOK_SECONDS)


def _regarding(path: str, found: Unreadable) -> Iterator[Regarding]:
    """The object, if it is a pod or a policy. Events are written only for these."""
    identity = found.identity
    _, _, rest = path.partition("/apis/")
    version, _, resource = rest.rpartition("/")
    if path == "/api/v1/pods":
        yield Regarding("v1", "Pod", identity.namespace, identity.name, identity.uid)
    elif resource == "resourcepolicies":
        yield Regarding(version, "ResourcePolicy", identity.namespace, identity.name, identity.uid)


def _event(found: Unreadable) -> DecisionEvent:
    note = f"Spillover cannot read this object, and places nothing by it: {found.reason}"
    return DecisionEvent(Reason.UNREADABLE, note, is_trouble=True)
