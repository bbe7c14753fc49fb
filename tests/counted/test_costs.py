"""What a filter call costs, counted and not timed: instructions, memory, and what it depends on."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import calls
import pytest

ROOT = Path(__file__).resolve().parents[2]
MOST_PER_DOUBLING = 1.02
_DOUBLINGS = 4
assert 2**_DOUBLINGS == calls.MORE


@pytest.fixture(scope="module")
def instructions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """Of one call, by its kind."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        pytest.skip("no valgrind: apt-get install valgrind (requirements/debian.txt)")
    out = tmp_path_factory.mktemp("callgrind") / "out"
    told = subprocess.run(
        [valgrind, "--quiet", "--tool=callgrind", "--dump-before=getppid",
         f"--callgrind-out-file={out}", sys.executable, str(Path(calls.__file__))],
        env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": str(ROOT / "tests" / "unit")},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=250, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    kinds = told.stdout.split("\n")[:-1]
    counts = {
        kind: total(out.with_name(f"out.{2 * number + 2}")) / calls.CALLS
        for number, kind in enumerate(kinds)
    }
    print({kind: f"{count / counts['least']:.2f} x least" for kind, count in counts.items()})
    return counts


def total(file: Path) -> int:
    """The instructions of one dump."""
    (line,) = (each for each in file.read_text().splitlines() if each.startswith("totals:"))
    return int(line.split()[1])


@pytest.mark.timeout(280)
@pytest.mark.parametrize(
    ("kind", "band"),
    [("placed", (1.2, 2.0)), ("in the last unit", (1.2, 2.1)), ("rejected again", (1.2, 2.2))],
)
def test_instructions_of_a_call(
    instructions: dict[str, float], kind: str, band: tuple[float, float]
) -> None:
    """A call that is cheaper than its band tells that the count has lost something."""
    times = instructions[kind] / instructions["least"]
    low, high = band
    assert low < times < high, f"{kind}: {times:.2f} times the least that an extender does"


@pytest.mark.parametrize("more", ["more pods", "more policies", "more units"])
def test_a_placement_does_not_depend_on_what_it_does_not_use(
    instructions: dict[str, float], more: str
) -> None:
    growth = (instructions[more] / instructions["placed"]) ** (1 / _DOUBLINGS)
    print(f"{more}: {growth - 1:+.2%} for each doubling")
    assert growth < MOST_PER_DOUBLING


def test_memory_of_a_decision() -> None:
    """Beside the names that every extender decodes."""
    requests = calls.bodies("app")
    world = calls.World([calls.OPEN] * calls.UNITS)
    for body in requests:
        world.known(body)
    least = calls.most_memory(calls.least, requests)
    placed = calls.most_memory(world.filter, requests)
    print(f"a decision holds {placed / 1024:.0f} KiB, the least extender {least / 1024:.0f} KiB")
    assert placed < 2 * least


def test_what_filter_does_not_read_is_not_decoded() -> None:
    small, large = calls.bodies("app"), calls.bodies("app", extra="x" * 2**20)
    world = calls.World([calls.OPEN] * calls.UNITS)
    for body in small:
        world.known(body)
    assert len(large[0]) > len(small[0]) + 2**20 - 1024
    difference = calls.most_memory(world.filter, large) - calls.most_memory(world.filter, small)
    assert difference < 4096
