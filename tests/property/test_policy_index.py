"""The index finds, for any labels, what looking at every policy finds."""

from hypothesis import given
from hypothesis import strategies as st

from builders import loaded
from spillover.api import ack
from spillover.core.cache.policy_index import PolicyIndex
from spillover.core.model.policy import LoadedPolicy
from spillover.core.model.selectors import includes

LABELS = st.dictionaries(st.sampled_from("abc"), st.sampled_from("xy"), max_size=3)
POLICIES = st.lists(
    st.tuples(st.sampled_from(["p", "q", "r", "s"]), st.sampled_from(["1", "2"]), LABELS),
    max_size=8,
)


@given(POLICIES, st.lists(st.sampled_from(["p", "q", "r", "s"]), max_size=2), LABELS)
def test_the_oldest_that_selects_is_found(
    put: list[tuple[str, str, dict[str, str]]], dropped: list[str], labels: dict[str, str]
) -> None:
    index = PolicyIndex()
    present: dict[str, LoadedPolicy] = {}
    for name, created, selector in put:
        spec = {"selector": selector, "units": [{"resource": "ecs"}]}
        policy = loaded(ack.GROUP, name, spec, created=created)
        index.put(policy)
        present[name] = policy
    for name in dropped:
        if name in present:
            index.drop(present.pop(name).key)
    selecting = [each for each in present.values() if includes(labels, each.selector)]
    wanted = min(selecting, key=lambda each: (each.created, each.key.name), default=None)
    assert index.for_pod("ns", labels) is wanted
    assert sorted(each.key.name for each in index.of_namespace("ns")) == sorted(present)
