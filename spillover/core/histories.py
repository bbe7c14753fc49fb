"""What earlier answers for a pod that waits have begun: waits, and attempts to preempt others."""

from collections.abc import Callable
from dataclasses import dataclass, field

from cachetools import LRUCache

from spillover.core.demand import NO_HISTORY, History
from spillover.core.pods import Pod
from spillover.core.waits import waits_of, written

MOST_PODS = 100_000
CYCLE_SECONDS = 5.0
"""Within one attempt of the scheduler, its calls follow each other faster than that."""
PROBE_SECONDS = 1.0
"""Likewise for the call with all nodes, which follows that with the nominated one at once."""


@dataclass(slots=True)
class _Entry:
    """`trying` is the unit that preemption was asked for in the present attempt; `probed` the pod's
    version when its nominated node alone was refused in it; each with the time of that. `written`
    is the last value of the annotation that we have written."""

    pod: Pod
    history: History = field(default=NO_HISTORY)
    trying: tuple[str, float] = ("", 0.0)
    probed: tuple[int, float] = (-1, 0.0)
    written: str = ""
    writes_from: float = 0.0


class Histories:
    """`clock` gives seconds. Bounded: the longest untouched is forgotten first; a wait is then read
    from the pod's annotation."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._entries: LRUCache[str, _Entry] = LRUCache(MOST_PODS)
        self._unwritten: dict[str, None] = {}

    def of(self, uid: str) -> History:
        entry = self._entries.get(uid)
        return entry.history if entry is not None else NO_HISTORY

    def forget(self, uid: str) -> None:
        self._entries.pop(uid, None)
        self._unwritten.pop(uid, None)

    # --- waits ---------------------------------------------------------------------------------

    def wait(self, pod: Pod, unit: str, since: float) -> None:
        """The pod waits for nodes of the unit since then."""
        entry = self._entry(pod)
        entry.history = entry.history.with_wait(unit, since)
        said = set(entry.history.waits) <= set(waits_of(pod))
        if not said and entry.written != self._value(entry):
            self._unwritten[pod.uid] = None

    def unwritten(self) -> list[tuple[Pod, str]]:
        """Pods whose annotation lacks a wait, with the value that it is to have."""
        now = self._clock()
        found = []
        for uid in list(self._unwritten):
            entry = self._entries.get(uid)
            if entry is None:
                del self._unwritten[uid]
            elif entry.writes_from <= now:
                found.append((entry.pod, self._value(entry)))
        return found

    def wrote(self, uid: str, value: str) -> None:
        """The annotation has this value now, though the pod may not be seen with it yet."""
        entry = self._entries.get(uid)
        if entry is None:
            self._unwritten.pop(uid, None)
            return
        entry.written = value
        if value == self._value(entry):  # else another wait has begun meanwhile
            self._unwritten.pop(uid, None)

    def placed(self, uid: str) -> None:
        """The pod waits no more, unless its binding fails."""
        self._unwritten.pop(uid, None)

    def write_failed(self, uid: str, rest_seconds: float) -> None:
        entry = self._entries.get(uid)
        if entry is not None:
            entry.writes_from = self._clock() + rest_seconds

    # --- preemption ----------------------------------------------------------------------------

    def try_in(self, pod: Pod, unit: str) -> None:
        """Filter has refused every node, so that the scheduler looks for victims in the unit."""
        entry = self._entry(pod)
        history = entry.history
        entry.history = History(history.waits, history.tried | {unit}, history.nominated)
        entry.trying = (unit, self._clock())

    def trying(self, uid: str) -> str:
        """The unit that `try_in` named in the present attempt, once; else ""."""
        entry = self._entries.get(uid)
        if entry is None:
            return ""
        unit, since = entry.trying
        entry.trying = ("", 0.0)
        return unit if self._clock() - since < CYCLE_SECONDS else ""

    def refuse_probe(self, pod: Pod) -> bool:
        """The nominated node alone was offered, and is to be refused. Returns False for the second
        such call of an attempt: that is the full one, and there is no other node."""
        entry = self._entry(pod)
        now = self._clock()
        version, since = entry.probed
        first = version != pod.version or now - since >= PROBE_SECONDS
        entry.probed = (pod.version, now) if first else (-1, 0.0)
        return first

    def call_is_full(self, uid: str) -> None:
        """More than the nominated node was offered."""
        entry = self._entries.get(uid)
        if entry is not None:
            entry.probed = (-1, 0.0)

    def _entry(self, pod: Pod) -> _Entry:
        entry = self._entries.get(pod.uid)
        if entry is None:
            entry = self._entries[pod.uid] = _Entry(pod)
        entry.pod = pod
        return entry

    @staticmethod
    def _value(entry: _Entry) -> str:
        """Of the annotation, with what the pod says already."""
        return written({**dict(waits_of(entry.pod)), **dict(entry.history.waits)}.items())
