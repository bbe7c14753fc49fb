"""Every order in which two extenders, an API server and their faults can act, explored to the end.

A small world: three pods of one policy whose only unit has room for two. Extender 0 leads and is
open; extender 1 stands by. All that may happen, in any order: filter, bind (claimed, sent and
executed in three steps, so that a process may stand still in between), answers that are lost, old
requests that are executed late, fences, reservations that expire, watches that lag by any time,
the Lease passing to the other one before or after the deadline of the first, a process that does
not notice that, orderly ends, a crash with and without a restart, sweeps step by step, a refused
patch, pods that are created and deleted. What is claimed: never more than two pods are bound.

The five guards can be switched off one by one; each must then be missed.

    python docs/proofs/exactness.py [--without GUARD] [--budget N N N N N]

This is a model: it shares no code with Spillover. docs/reliability.md says which line of the code
is which step here, and which assumptions neither can do without.
"""

import argparse
import sys
import time
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

MAX = 2
PODS = 3
GUARDS = ("sweep", "precondition", "recheck", "deadline", "fence")


class Local(NamedTuple):
    """What one extender knows of a pod. `version` is that of its newest view, -1 before the first;
    `held` is the state of its slot, with the version that was taken for the binding:

    "" none, R reserved, C claimed (may bind, has not sent yet), S sent, U outcome unknown,
    B bound by the API server's answer, D doubted, P listed and to be swept.
    """

    version: int = -1
    epoch: int = 0
    bound: bool = False
    gone: bool = False
    held: str = ""
    taken: int = -1


class PodState(NamedTuple):
    """The truth about a pod: 0 not yet created, 1 live, 2 deleted; and the bindings on their way,
    by the version they name."""

    life: int
    version: int = 0
    epoch: int = 0
    bound: bool = False
    sent: tuple[int, ...] = ()
    local: tuple[Local, Local] = (Local(), Local())


class Extender(NamedTuple):
    """`mode` is down, idle, waiting (for the deadline of the one before), sweeping or open. `late`:
    its deadline is over. `heir`: an earlier process of its Pod, which has ended, had taken over in
    this very turn of the Lease.
    """

    mode: str
    epoch: int = 0
    late: bool = True
    heir: bool = False


Budget = tuple[int, int, int, int, int]
PASSES, CRASHES, DELETES, REFUSALS, UNHEARD = range(5)
"""How often, at most, the Lease passes on, a process ends, a pod is deleted, a patch refused, an
outcome not waited for: what bounds the exploration."""


class State(NamedTuple):
    """`active` is who has taken over last, as the epoch object says, and `drained` whether nothing
    of it, or of any before it, is under way any more."""

    pods: tuple[PodState, ...]
    extenders: tuple[Extender, Extender]
    holder: int
    active: int
    drained: bool
    epochs: int
    left: Budget


Step = tuple[str, State]


def initial(budget: Budget) -> State:
    """Two pods are there and known to both; the third has yet to be created."""
    known = Local(version=1)
    there = PodState(1, 1, local=(known, known))
    pods = (PodState(0), *[there] * (PODS - 1))
    leader = Extender("open", 1, late=False)
    return State(pods, (leader, Extender("idle")), 0, 0, drained=False, epochs=1, left=budget)


class World:
    def __init__(self, without: str = "") -> None:
        self._on = {guard: guard != without for guard in GUARDS}

    def steps(self, state: State) -> Iterator[Step]:
        """Everything that can happen next."""
        yield from self._leases(state)
        for who in (0, 1):
            yield from self._processes(state, who)
        for index, pod in enumerate(state.pods):
            yield from self._api_server(state, index, pod)
            for who in (0, 1):
                if state.extenders[who].mode != "down":
                    yield from self._extender(state, who, index, pod)

    # --- the Lease and the processes ------------------------------------------------------------

    def _leases(self, state: State) -> Iterator[Step]:
        if state.left[PASSES]:
            other = 1 - state.holder
            new = state.extenders[other]
            if new.mode in ("idle", "open"):
                changed = _with_extender(state, other, new._replace(late=False))
                yield f"Lease passes to {other}", _spent(changed, PASSES)._replace(holder=other)
        former = state.extenders[1 - state.holder]
        if not former.late:
            name = f"deadline of {1 - state.holder} is over"
            yield name, _with_extender(state, 1 - state.holder, former._replace(late=True))

    def _processes(self, state: State, who: int) -> Iterator[Step]:
        extender, other = state.extenders[who], state.extenders[1 - who]
        if extender.mode == "down":
            restarted = extender._replace(mode="idle", epoch=0)
            yield f"{who} restarts", _listed(_with_extender(state, who, restarted), who)
            return
        if state.left[CRASHES]:
            # In another turn than this one, the heir knows nothing of who led meanwhile.
            heir = extender.mode == "open" and state.holder == who
            down = extender._replace(mode="down", heir=heir)
            crashed = _with_extender(state, who, down)
            yield f"{who} crashes", _spent(_forgotten(crashed, who), CRASHES)
        if state.holder != who and extender.mode in ("waiting", "sweeping", "open"):
            # It may notice, or not yet. What it has sent stays to be settled.
            yield f"{who} steps down", _stepped_down(state, who)
        if (
            extender.mode == "open"
            and state.left[CRASHES]
            and all(pod.local[who].held not in ("C", "S", "U", "D") for pod in state.pods)
        ):
            yield f"{who} ends in order", _spent(self._drained(state, who), CRASHES)
        if state.holder == who and extender.mode == "idle":
            yield from self._take_over(state, who)
        if extender.mode == "waiting" and (other.late or extender.heir):
            yield f"{who} lists", self._begin_sweep(state, who)
        if extender.mode == "sweeping" and all(p.local[who].held != "P" for p in state.pods):
            yield f"{who} opens", _with_extender(state, who, extender._replace(mode="open"))

    def _drained(self, state: State, who: int) -> State:
        """Places nothing more, and says so, unless somebody else has taken over since."""
        idle = _stepped_down(state, who)
        return idle._replace(drained=True) if state.active == who else idle

    def _take_over(self, state: State, who: int) -> Iterator[Step]:
        extender, epoch = state.extenders[who], state.epochs + 1
        begun = _with_extender(state, who, extender._replace(mode="waiting", epoch=epoch))
        yield f"{who} takes over", begun._replace(active=who, drained=False, epochs=epoch)
        others = state.extenders[1 - who]
        if state.drained and (others.late or state.active == 1 - who):
            # What the one before has bound, the watch may not have shown yet.
            opened = _with_extender(state, who, extender._replace(mode="open", epoch=epoch))
            changed = _listed(opened, who)._replace(active=who, drained=False, epochs=epoch)
            yield f"{who} takes over from who has drained", changed

    def _begin_sweep(self, state: State, who: int) -> State:
        """The last pass: a consistent list, of which those of an older epoch are to be patched."""
        listed = _listed(state, who)
        extender = state.extenders[who]

        def to_sweep(pod: PodState) -> PodState:
            local = pod.local[who]
            stale = pod.life == 1 and not pod.bound and pod.epoch < extender.epoch
            if not stale or not self._on["sweep"] or local.held not in ("", "R"):
                return pod
            return _with_local(pod, who, local._replace(held="P", taken=pod.version))

        swept = listed._replace(pods=tuple(map(to_sweep, listed.pods)))
        return _with_extender(swept, who, extender._replace(mode="sweeping", heir=False))

    # --- the API server -------------------------------------------------------------------------

    def _api_server(self, state: State, index: int, pod: PodState) -> Iterator[Step]:
        if pod.life == 0:
            made = pod._replace(life=1, version=1)
            yield f"pod {index} is created", _with_pod(state, index, made)
        if pod.life == 1 and state.left[DELETES]:
            gone = pod._replace(life=2, version=pod.version + 1, bound=False)
            yield f"pod {index} is deleted", _spent(_with_pod(state, index, gone), DELETES)
        for version in sorted(set(pod.sent)):
            sent = list(pod.sent)
            sent.remove(version)
            after = pod._replace(sent=tuple(sent))
            commits = pod.life == 1 and not pod.bound
            if self._on["precondition"]:
                commits = commits and version == pod.version
            if commits:
                after = after._replace(bound=True, version=pod.version + 1)
            what = f"binding of pod {index} at {version} {'commits' if commits else 'conflicts'}"
            yield f"{what}, unheard", _with_pod(state, index, after)
            for who in (0, 1):
                local = after.local[who]
                if local.held in ("S", "U") and local.taken == version:
                    heard = local._replace(held="B" if commits else "", taken=-1)
                    if not commits:  # whoever is told of a conflict looks at the pod
                        heard = _seen(heard, after)
                    told = _with_local(after, who, heard)
                    yield f"{what}, heard by {who}", _with_pod(state, index, told)

    # --- one extender and one pod ---------------------------------------------------------------

    def _extender(self, state: State, who: int, index: int, pod: PodState) -> Iterator[Step]:
        extender, local = state.extenders[who], pod.local[who]
        news = (pod.version, pod.epoch, pod.bound, pod.life == 2)
        # What a replica sees that neither leads nor waits for an outcome, its next list overwrites.
        matters = extender.mode in ("sweeping", "open") or local.held
        if matters and pod.life and news != (local.version, local.epoch, local.bound, local.gone):
            seen = _with_local(pod, who, _seen(local, pod))
            yield f"{who} sees pod {index}", _with_pod(state, index, seen)
        if local.held == "R":
            yield _become(state, who, index, "lets expire the reservation of", "")
        if extender.mode == "open" and local.version >= 0 and not (local.bound or local.gone):
            yield from self._place(state, who, index)
        if local.held in ("C", "S", "U"):
            yield from self._bind(state, who, index)
        if local.held in ("P", "D") and pod.life:
            yield f"{who} sweeps pod {index}", _with_pod(state, index, _swept(pod, who, extender))
        if local.held == "P" and state.left[REFUSALS]:
            refused = _become(state, who, index, "is refused the patch of", "D", local.taken)
            yield refused[0], _spent(refused[1], REFUSALS)

    def _place(self, state: State, who: int, index: int) -> Iterator[Step]:
        """Of a pod that is free for all that is known."""
        extender, local = state.extenders[who], state.pods[index].local[who]
        has_room = _count(state, who, besides=index) < MAX
        if local.held == "" and has_room:
            yield _become(state, who, index, "places", "R")
        unreserved = local.held in ("", "D") and (has_room or not self._on["recheck"])
        in_time = not extender.late or not self._on["deadline"]
        if (local.held == "R" or unreserved) and in_time and local.epoch <= extender.epoch:
            yield _become(state, who, index, "claims", "C", local.version)

    def _bind(self, state: State, who: int, index: int) -> Iterator[Step]:
        pod = state.pods[index]
        local = pod.local[who]
        if local.held == "C":
            after = _with_local(pod, who, local._replace(held="S"))
            after = after._replace(sent=tuple(sorted((*pod.sent, local.taken))))
            yield f"{who} sends the binding of pod {index}", _with_pod(state, index, after)
        if local.held == "S" and state.left[UNHEARD]:
            held = "U" if self._on["fence"] else ""
            unheard = _become(state, who, index, "waits no longer for", held, local.taken)
            yield unheard[0], _spent(unheard[1], UNHEARD)
        if local.held == "U" and local.version > local.taken:
            held = "B" if local.bound else ""
            yield _become(state, who, index, "has seen a newer version of", held)
        if local.held == "U":
            yield f"{who} fences pod {index}", _with_pod(state, index, _fenced(pod, who))


def _become(state: State, who: int, index: int, what: str, held: str, taken: int = -1) -> Step:
    pod = state.pods[index]
    changed = _with_local(pod, who, pod.local[who]._replace(held=held, taken=taken))
    return f"{who} {what} pod {index}", _with_pod(state, index, changed)


def _seen(local: Local, pod: PodState) -> Local:
    """A view never goes back. It ends what it settles, as the ledger does."""
    held, taken = local.held, local.taken
    if pod.life == 2 or pod.bound:
        held, taken = ("C", taken) if held == "C" else ("", -1)
    elif held == "D" and pod.version > taken:
        held, taken = "", -1
    return Local(pod.version, pod.epoch, pod.bound, pod.life == 2, held, taken)


def _fenced(pod: PodState, who: int) -> PodState:
    if pod.life == 1 and not pod.bound:
        pod = pod._replace(version=pod.version + 1)
    return _with_local(pod, who, _seen(pod.local[who]._replace(held="", taken=-1), pod))


def _swept(pod: PodState, who: int, extender: Extender) -> PodState:
    if pod.life == 1 and not pod.bound:
        pod = pod._replace(version=pod.version + 1, epoch=max(pod.epoch, extender.epoch))
    return _with_local(pod, who, _seen(pod.local[who]._replace(held="", taken=-1), pod))


def _count(state: State, who: int, besides: int) -> int:
    """The slots that are taken, as one extender knows."""
    return sum(
        1
        for index, pod in enumerate(state.pods)
        if index != besides
        and (pod.local[who].held in ("R", "C", "S", "U", "B", "D") or pod.local[who].bound)
    )


def _with_local(pod: PodState, who: int, local: Local) -> PodState:
    pair = (local, pod.local[1]) if who == 0 else (pod.local[0], local)
    return pod._replace(local=pair)


def _with_pod(state: State, index: int, pod: PodState) -> State:
    return state._replace(pods=(*state.pods[:index], pod, *state.pods[index + 1 :]))


def _with_extender(state: State, who: int, extender: Extender) -> State:
    first, second = state.extenders
    return state._replace(extenders=(extender, second) if who == 0 else (first, extender))


def _spent(state: State, what: int) -> State:
    left = list(state.left)
    left[what] -= 1
    return state._replace(left=(left[0], left[1], left[2], left[3], left[4]))


def _listed(state: State, who: int) -> State:
    """A consistent list, taken in at once."""
    pods = (
        _with_local(pod, who, _seen(pod.local[who], pod)) if pod.life else pod for pod in state.pods
    )
    return state._replace(pods=tuple(pods))


def _forgotten(state: State, who: int) -> State:
    return state._replace(pods=tuple(_with_local(pod, who, Local()) for pod in state.pods))


def _stepped_down(state: State, who: int) -> State:
    def without_reservation(pod: PodState) -> PodState:
        local = pod.local[who]
        if local.held not in ("R", "P", "D"):
            return pod
        return _with_local(pod, who, local._replace(held="", taken=-1))

    idle = state.extenders[who]._replace(mode="idle", epoch=0)
    return _with_extender(
        state._replace(pods=tuple(map(without_reservation, state.pods))), who, idle
    )


def canonical(state: State) -> State:
    """Pods are alike: their order says nothing."""
    return state._replace(pods=tuple(sorted(state.pods)))


def overshoots(state: State) -> bool:
    return sum(1 for pod in state.pods if pod.life == 1 and pod.bound) > MAX


class Found(NamedTuple):
    """How many states there are, whether that is all of them, and how the maximum was exceeded."""

    states: int
    complete: bool
    trace: list[str]


def explore(
    without: str = "",
    budget: Budget = (1, 1, 1, 1, 1),
    seconds: float = float("inf"),
) -> Found:
    """Breadth first, so that a trace is as short as can be."""
    world = World(without)
    start = initial(budget)
    came_from: dict[State, State | None] = {canonical(start): None}
    queue = deque([canonical(start)])
    deadline = time.monotonic() + seconds
    while queue:
        state = queue.popleft()
        for _, after in world.steps(state):
            following = canonical(after)
            if following in came_from:
                continue
            came_from[following] = state
            if overshoots(following):
                return Found(len(came_from), False, _trace(world, start, came_from, following))
            queue.append(following)
        if len(came_from) % 1024 == 0 and time.monotonic() > deadline:
            return Found(len(came_from), False, [])
    return Found(len(came_from), True, [])


def _trace(
    world: "World", start: State, came_from: dict[State, State | None], end: State
) -> list[str]:
    """The steps, with pods by the numbers they have at the start."""
    path = [end]
    while (before := came_from[path[-1]]) is not None:
        path.append(before)
    names, state = [], start
    for wanted in path[-2::-1]:
        name, state = next(step for step in world.steps(state) if canonical(step[1]) == wanted)
        names.append(name)
    return names


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--without", choices=GUARDS, default="")
    parser.add_argument("--budget", type=int, nargs=5, default=(1, 1, 1, 1, 1))
    parser.add_argument("--seconds", type=float, default=float("inf"))
    options = parser.parse_args()
    found = explore(options.without, tuple(options.budget), options.seconds)
    print(f"{found.states} states, {'all' if found.complete else 'not all'}")
    for number, name in enumerate(found.trace, 1):
        print(f"{number:3} {name}")
    return 1 if found.trace else 0


if __name__ == "__main__":
    sys.exit(main())
