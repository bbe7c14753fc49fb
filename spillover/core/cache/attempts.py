"""What earlier answers for a waiting pod have started: timed waits and preemption attempts."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from cachetools import LRUCache

from spillover.core.decision.demand import NO_HISTORY, History
from spillover.core.decision.wait_annotation import waits_of, written
from spillover.core.model.pods import Pod

MOST_PODS = 100_000
CYCLE_SECONDS = 5.0
"""Within one scheduling attempt, the scheduler's calls follow each other faster than this."""
PROBE_SECONDS = 1.0
"""The call with all nodes follows the call with the nominated node faster than this."""


@dataclass(slots=True)
class _Entry:
    """What is known of one waiting pod."""

    pod: Pod
    history: History = field(default=NO_HISTORY)
    trying: tuple[str, float] = ("", 0.0)
    """The unit where filter asked for preemption in the present attempt, and the time of that."""
    probed: tuple[int, float] = (-1, 0.0)
    """The pod's version when the call with only its nominated node was refused in the present
    attempt, and the time of that."""
    written: str = ""
    """The last value of the annotation that we have written."""
    writes_from: float = 0.0
    """The annotation is not written before this time."""


class Attempts:
    """`clock` returns seconds. The number of entries is bounded: the least recently used entry is
    forgotten first. The waits of a forgotten pod are read from its annotation."""

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

    def end_term(self) -> None:
        """Another replica decides now. What is to be written still goes."""
        for uid in [each for each in self._entries if each not in self._unwritten]:
            del self._entries[uid]

    def begin_term(self) -> None:
        """Another replica has decided since: only the annotations count."""
        self._entries.clear()
        self._unwritten.clear()

    # --- waits ---------------------------------------------------------------------------------

    def wait(self, pod: Pod, unit: str, since: float) -> None:
        """The pod has waited for nodes of the unit since the time `since`."""
        entry = self._entry(pod)
        entry.history = entry.history.with_wait(unit, since)
        self._to_be_written(entry)

    def end_wait(self, pod: Pod, unit: str) -> None:
        """The unit is at a limit. The pod's next wait for nodes of the unit begins anew."""
        known = self._entries.get(pod.uid)
        waits = {*dict(waits_of(pod)), *(dict(known.history.waits) if known is not None else ())}
        if unit in waits and (known is None or unit not in known.history.ended):
            entry = self._entry(pod)
            entry.history = entry.history.without_wait(unit)
            self._to_be_written(entry)

    def unwritten(self) -> list[tuple[Pod, str]]:
        """Pods whose annotation lacks a wait or has one too many, each with the value to write."""
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
        """The annotation has this value now. The watch may not have shown it yet."""
        entry = self._entries.get(uid)
        if entry is None:
            self._unwritten.pop(uid, None)
            return
        entry.written = value
        if value == self._value(entry):  # otherwise another wait has begun during the write
            self._unwritten.pop(uid, None)

    def placed(self, uid: str) -> None:
        """The pod no longer waits, unless its binding fails."""
        self._unwritten.pop(uid, None)

    def write_failed(self, uid: str, rest_seconds: float) -> None:
        entry = self._entries.get(uid)
        if entry is not None:
            entry.writes_from = self._clock() + rest_seconds

    # --- preemption ----------------------------------------------------------------------------

    def try_in(self, pod: Pod, unit: str) -> None:
        """Filter has refused every node, so that the scheduler looks for preemption victims in the
        unit."""
        entry = self._entry(pod)
        history = entry.history
        entry.history = replace(history, tried=history.tried | {unit})
        entry.trying = (unit, self._clock())

    def trying(self, uid: str) -> str:
        """The unit that `try_in` named in the present attempt, only once; else ""."""
        entry = self._entries.get(uid)
        if entry is None:
            return ""
        unit, since = entry.trying
        entry.trying = ("", 0.0)
        return unit if self._clock() - since < CYCLE_SECONDS else ""

    def refuse_probe(self, pod: Pod) -> bool:
        """The call offered only the nominated node. Returns whether to refuse it: True for the
        first such call of an attempt. The second such call is the one with all nodes, and there is
        no other node: False."""
        entry = self._entry(pod)
        now = self._clock()
        version, since = entry.probed
        first = version != pod.version or now - since >= PROBE_SECONDS
        entry.probed = (pod.version, now) if first else (-1, 0.0)
        return first

    def call_is_full(self, uid: str) -> None:
        """The call offered other nodes than only the nominated one."""
        entry = self._entries.get(uid)
        if entry is not None:
            entry.probed = (-1, 0.0)

    def _entry(self, pod: Pod) -> _Entry:
        entry = self._entries.get(pod.uid)
        if entry is None:
            entry = self._entries[pod.uid] = _Entry(pod)
        entry.pod = pod
        return entry

    def _to_be_written(self, entry: _Entry) -> None:
        there = dict(waits_of(entry.pod))
        said = set(entry.history.waits) <= set(there.items())
        if said and not entry.history.ended & there.keys():
            self._unwritten.pop(entry.pod.uid, None)
        elif entry.written != self._value(entry):
            self._unwritten[entry.pod.uid] = None

    @staticmethod
    def _value(entry: _Entry) -> str:
        """The annotation's value: the waits that the pod has already, without those that have
        ended, and ours."""
        there = {
            unit: since for unit, since in waits_of(entry.pod) if unit not in entry.history.ended
        }
        return written({**there, **dict(entry.history.waits)}.items())
