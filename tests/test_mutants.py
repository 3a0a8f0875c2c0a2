"""The list of mutants fits the sources: each changes one place, and its tests exist. ``make mutants`` tries them."""

import re
from collections import Counter

import pytest
from mutants import MUTANTS
from source_tree import ROOT, source_files


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_changes_one_place_and_its_tests_exist(mutant):
    assert mutant.file in {path.as_posix() for path in source_files()}
    assert mutant.found == 1, f"the old text is {mutant.found} times in {mutant.file}: adapt tests/mutants.py"
    assert mutant.new != mutant.old
    compile((ROOT / mutant.file).read_text(encoding="utf-8").replace(mutant.old, mutant.new), mutant.file, "exec")
    for test in mutant.tests:
        file, name = re.fullmatch(r"([\w/]+\.py)::(\w+)(?:\[.+\])?", test).groups()
        source = (ROOT / "tests" / file).read_text(encoding="utf-8")
        assert re.search(rf"^def {name}\(", source, re.MULTILINE), f"there is no test {test}"


def test_mutants_have_different_names_and_are_many():
    assert max(Counter(mutant.name for mutant in MUTANTS).values()) == 1
    assert len(MUTANTS) >= 40
