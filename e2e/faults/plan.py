"""What goes wrong in one run, and when: drawn from a seed, so that a run can be repeated."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from random import Random

KILLS = ("kill-extender", "kill-scheduler", "kill-pod", "stop-pod-in-order")
PAUSES = ("pause-extender", "pause-scheduler", "pause-pod")
LEASES = ("delete-lease", "steal-lease", "give-lease-away")
CONTROL_PLANE = ("restart-api-server", "pause-etcd")
NETWORK = ("cut-connections", "lose-answers", "late-answers", "delay-bindings", "lag-watches")
ADMISSION = ("refuse-sweep",)
ALL = (*KILLS, *PAUSES, *LEASES, *CONTROL_PLANE, *NETWORK, *ADMISSION)

_LONGEST = {"pause-etcd": 6.0}
"""In seconds: after 10 the controller manager gives up its own Lease, and nobody restarts it."""

_WINDOW = 2.0
"""In leases: how long faults go on to begin."""


@dataclass(frozen=True, slots=True)
class Action:
    """A fault that begins `at` seconds after the run and is healed `lasts` seconds later. It
    strikes the replica that leads then, or the other one."""

    fault: str
    at: float
    lasts: float
    leader: bool


@dataclass(frozen=True, slots=True)
class Plan:
    seed: int
    actions: tuple[Action, ...]

    @property
    def faults(self) -> tuple[str, ...]:
        return tuple(sorted({action.fault for action in self.actions}))

    def __str__(self) -> str:
        said = (
            f"{a.fault}({'leader' if a.leader else 'standby'}) {a.at:.1f}+{a.lasts:.1f} s"
            for a in self.actions
        )
        return f"seed {self.seed}: " + ", ".join(said)


def draw(seed: int, lease_seconds: float, faults: Sequence[str] = ALL) -> Plan:
    """Two to four faults, that overlap as it happens. Pauses and cuts are shorter or longer than
    the lease, for both matter."""
    chance = Random(seed)
    chosen = [chance.choice(faults) for _ in range(chance.randint(2, 4))]
    restarts = [fault for fault in chosen if fault == "restart-api-server"]
    for extra in restarts[1:]:
        chosen.remove(extra)  # one at a time: it takes seconds to come up
    actions = [
        Action(
            fault,
            at=chance.uniform(0.3, _WINDOW * lease_seconds),
            lasts=min(chance.uniform(0.2, 1.8 * lease_seconds), _LONGEST.get(fault, inf)),
            leader=chance.random() < 0.75,
        )
        for fault in chosen
    ]
    return Plan(seed, tuple(sorted(actions, key=lambda action: action.at)))
