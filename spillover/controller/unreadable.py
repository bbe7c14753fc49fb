"""Telling of pods and policies that do not decode."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

from spillover.controller.recorder import Recorder
from spillover.core.happenings import Happening, Reason
from spillover.kube.events import Regarding
from spillover.kube.reading import Unreadable
from spillover.kube.reflector import Reflector

_LOOK_SECONDS = 5.0


class UnreadableObjects:
    """One Event an hour for each object; the recorder knows what it has told."""

    def __init__(self, watches: Sequence[Reflector[Any]], recorder: Recorder) -> None:
        self._watches = watches
        self._recorder = recorder

    async def run(self) -> None:
        """Never returns."""
        while True:
            for watch in self._watches:
                for found in list(watch.unreadable.values()):
                    for regarding in _regarding(watch.path, found):
                        self._recorder.record(regarding, _happening(found))
            await asyncio.sleep(_LOOK_SECONDS)


def _regarding(path: str, found: Unreadable) -> Iterator[Regarding]:
    """The object, if it is of a kind that Events are written for: in a namespace."""
    identity = found.identity
    _, _, rest = path.partition("/apis/")
    version, _, resource = rest.rpartition("/")
    if path == "/api/v1/pods":
        yield Regarding("v1", "Pod", identity.namespace, identity.name, identity.uid)
    elif resource == "resourcepolicies":
        yield Regarding(version, "ResourcePolicy", identity.namespace, identity.name, identity.uid)


def _happening(found: Unreadable) -> Happening:
    note = f"Spillover cannot read this object, and places nothing by it: {found.reason}"
    return Happening(Reason.UNREADABLE, note, is_trouble=True)
