"""Which taints a pod tolerates. The cases follow k8s.io/api/core/v1 ToleratesTaint."""

import pytest

from spillover.api.kubernetes import Taint, Toleration
from spillover.core.model.taints import repels, tolerated, tolerates

TAINT = Taint("team", "ml", "NoSchedule")


@pytest.mark.parametrize(
    ("toleration", "expected"),
    [
        (Toleration("team", "Equal", "ml", "NoSchedule"), True),
        (Toleration("team", "", "ml", "NoSchedule"), True),
        (Toleration("team", "Equal", "ml"), True),
        (Toleration("team", "Equal", "ops", "NoSchedule"), False),
        (Toleration("team", "Equal", "ml", "NoExecute"), False),
        (Toleration("other", "Equal", "ml", "NoSchedule"), False),
        (Toleration("team", "Exists"), True),
        (Toleration("team", "Exists", effect="NoExecute"), False),
        (Toleration("other", "Exists"), False),
        (Toleration("", "Exists"), True),
        (Toleration("", "Exists", effect="NoSchedule"), True),
        (Toleration("team", "Gt", "1"), False),
        (Toleration("team", "In", "ml"), False),
    ],
)
def test_tolerates(toleration: Toleration, *, expected: bool) -> None:
    assert tolerates(toleration, TAINT) is expected


@pytest.mark.parametrize(
    ("operator", "ours", "theirs", "expected"),
    [
        ("Lt", "10", "5", True),
        ("Lt", "5", "5", False),
        ("Gt", "5", "10", True),
        ("Gt", "10", "10", False),
        ("Gt", "x", "10", False),
        ("Gt", "5", "007", False),
        ("Gt", "+5", "7", False),
        ("Gt", "-5", "0", True),
        ("Gt", "-0", "5", False),
        ("Gt", "1", "9223372036854775808", False),
        ("Gt", "5", "", False),
    ],
)
def test_numeric_tolerations_compare_the_taint_with_themselves(
    operator: str, ours: str, theirs: str, *, expected: bool
) -> None:
    taint = Taint("cores", theirs, "NoSchedule")
    assert tolerates(Toleration("cores", operator, ours), taint) is expected


def test_only_two_effects_keep_pods_off() -> None:
    assert [
        effect
        for effect in ("NoSchedule", "NoExecute", "PreferNoSchedule")
        if repels(Taint("a", "", effect))
    ] == ["NoSchedule", "NoExecute"]


def test_every_taint_wants_its_toleration() -> None:
    other = Taint("gpu", "", "NoExecute")
    both = [Toleration("team", "Exists"), Toleration("gpu", "Exists")]
    assert tolerated([TAINT, other], both)
    assert not tolerated([TAINT, other], both[:1])
    assert tolerated([], [])
