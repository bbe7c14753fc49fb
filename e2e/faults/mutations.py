"""Does the judge find overshoot when a guard is missing? Each mutation takes one guard out of a
copy of the checkout and runs fault schedules there that are drawn for it.

    python e2e/faults/mutations.py [GUARD…]

Of the other three real timing strikes too rarely; the exhaustive model finds each
(tests/property/test_exactness_model.py). Without the fence, or the sweep, the scheduler itself
nearly always changes the version in time: it writes to the pod that its binding has failed. For
the deadline, a leader that has lost touch must come to know a new pod and be asked for it.
"""

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_RUNS = ("--runs", "20", "--seed", "1", "-s", "-x")


@dataclass(frozen=True)
class Mutation:
    """Replaces the `old` text of a file by the `new`, for runs with these `options`."""

    guard: str
    file: str
    old: str
    new: str
    options: tuple[str, ...]


_CHECKED = """\
            decision = self._decide(pod, policy, Names([node]))
            if isinstance(decision, Rejected):
                # An existing reservation stays until filter's next answer for the pod.
                return decision.reasons[node]
            # A decision with one node cannot know whether earlier units have other nodes. Only
            # their maxima are known.
            at_max = tuple(each for each in decision.passed if isinstance(each, AtMax))
            self._reserve(pod, replace(decision, passed=at_max))
"""
_UNCHECKED = """\
            cluster = self.cluster
            unit = next(u for u in policy.units if node in cluster.nodes.members(u.pool))
            key = UnitKey(policy.key, unit.identity)
            cluster.ledger.reserve(pod, policy.key, key, Names([node]))
"""

MUTATIONS = (
    Mutation(
        "precondition",
        "spillover/kube/binder.py",
        '                "resourceVersion": str(version),\n',
        "",
        ("-k", "exceed", "--faults", "delay-bindings,kill-pod"),
    ),
    Mutation(
        "recheck",
        "spillover/core/scheduler.py",
        _CHECKED,
        _UNCHECKED,
        ("-k", "volumes", "--prebind", "6", "--faults", "kill-extender"),
    ),
)


def main(guards: list[str]) -> int:
    missed = []
    for mutation in MUTATIONS:
        if not guards or mutation.guard in guards:
            found, said = try_out(mutation)
            print(f"without {mutation.guard}: {said}", flush=True)
            if not found:
                missed.append(mutation.guard)
    return 1 if missed else 0


def try_out(mutation: Mutation) -> tuple[bool, str]:
    """Whether the runs found overshoot, and what they said."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(copy)], check=True)  # noqa: S607 - the user's own git
        file = copy / mutation.file
        before = file.read_text()
        if before.count(mutation.old) != 1:
            raise ValueError(f"{mutation.guard}: {mutation.file} has changed")
        file.write_text(before.replace(mutation.old, mutation.new))
        ended = subprocess.run(
            [str(copy / "dev"), "test", "faults", *_RUNS, *mutation.options],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    runs = ended.stdout.count("\nseed ")
    lines = [line for line in ended.stdout.splitlines() if "OvershootError: " in line]
    if lines:
        return True, f"found in schedule {runs}: {lines[-1].strip()}"
    return False, f"missed in {runs} schedules\n{ended.stdout[-2000:]}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
