"""The guards that the fault runs are tried without: see e2e/faults/mutations.py."""

import ast

import pytest

from faults.mutations import MUTATIONS, Mutation
from harness.places import ROOT


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda each: each.guard)
def test_the_code_has_the_guard_and_can_do_without_it(mutation: Mutation) -> None:
    before = (ROOT / mutation.file).read_text()
    assert before.count(mutation.old) == 1
    ast.parse(before.replace(mutation.old, mutation.new))
