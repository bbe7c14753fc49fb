"""The reasons in an answer to the scheduler, as they are sent."""

import json

from hypothesis import given
from hypothesis import strategies as st

from spillover.core.decision.outcomes import Reasons

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
names = texts | st.text('",:\\', max_size=6)


@given(st.dictionaries(names, texts, max_size=8))
def test_the_encoded_reasons_are_the_reasons(reasons: dict[str, str]) -> None:
    grouped: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        grouped.setdefault(reason, []).append(name)
    told = Reasons(grouped.items())
    assert json.loads(told.encoded) == dict(told) == reasons
