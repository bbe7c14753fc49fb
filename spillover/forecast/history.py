"""Samples of a workload's load over the last days."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

DAYS = 7
SAMPLES = 1440
"""Samples of a day."""
POINTS = DAYS * SAMPLES
"""10,080 samples. Prometheus answers at most 11,000 for each series."""
MINUTE = 60
"""Seconds between two samples of a day of 24 hours. The rhythm may have another length."""

SATURATED = 0.95
"""A utilisation of this share of what all pods can show hides how much more is asked for."""

Samples = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class History:
    """The last `DAYS` days, one sample for each `step` seconds. NaN stands for no sample."""

    end: int
    """Time of the last sample in seconds since 1970, a multiple of `step`."""
    load: Samples
    """Sum over all pods, in the unit of the target. Shape (POINTS,), the oldest first."""
    pods: Samples
    """Number of pods that the sum is of. Shape (POINTS,)."""
    step: int = MINUTE
    """Seconds between two samples."""

    @classmethod
    def empty(cls, end: int, step: int = MINUTE) -> "History":
        nothing = np.full(POINTS, np.nan, np.float32)
        return cls(end - end % step, nothing, nothing, step)

    @property
    def share(self) -> float:
        """The share of the samples that are known, 0 to 1."""
        return float(np.count_nonzero(np.isfinite(self.load))) / POINTS

    def extended(self, end: int, load: Mapping[int, float], pods: Mapping[int, float]) -> "History":
        """The history up to `end`, with these samples by their times. What is older than `DAYS`
        days is dropped. Times that are no multiple of `step`, or outside, are ignored."""
        end = max(end - end % self.step, self.end)  # a clock that goes back moves nothing
        moved = (end - self.end) // self.step
        later = replace(
            self, end=end, load=_shifted(self.load, moved), pods=_shifted(self.pods, moved)
        )
        for samples, values in ((later.load, load), (later.pods, pods)):
            for time, value in values.items():
                place = POINTS - 1 - (end - time) // self.step
                if time % self.step == 0 and 0 <= place < POINTS:
                    samples[place] = value
        return later


def _shifted(samples: Samples, by: int) -> Samples:
    if by <= 0:
        return samples.copy()
    nothing = np.full(min(by, POINTS), np.nan, np.float32)
    return np.concatenate([samples[by:], nothing])
