"""Which mutants are judged: those of texts for people are not, all others are."""

from __future__ import annotations

import ast

import pytest

from tests.mutation.mutant import Mutant, _is_text, only_text
from tests.mutation.report import Result, text


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('raise Refusal("no such cap")', 'raise Refusal("XXno such capXX")'),
        ('raise Refusal("no such cap")', "raise Refusal(None)"),
        ('raise Refusal(f"no cap {name}")', "raise Refusal(None)"),
        ('return DeadLetter(Reason.BAD, f"it is {size} bytes")', "return DeadLetter(Reason.BAD, )"),
        ('detail = "of no use"', 'detail = "OF NO USE"'),
    ],
)
def test_a_changed_text_is_not_judged(before: str, after: str) -> None:
    assert only_text(ast.parse(before), ast.parse(after))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("return a < b", "return a <= b"),
        ('return kinds["hero"]', 'return kinds["XXheroXX"]'),
        ('return DeadLetter(Reason.BAD, f"it is {size} bytes")', 'return DeadLetter(None, f"it is {size} bytes")'),
        ('return DeadLetter(Reason.BAD, f"it is {size} bytes")', 'return DeadLetter(f"it is {size} bytes")'),
        ("held = {**held, name: until}", "held = None"),
        ("return f(a, b)", "return f(a)"),
    ],
)
def test_a_changed_meaning_is_judged(before: str, after: str) -> None:
    assert not only_text(ast.parse(before), ast.parse(after))


@pytest.mark.parametrize(("removed", "added", "is_text"), [
    ('add(path, "only decisions weigh", "so")', 'add(path, "ONLY DECISIONS WEIGH", "so")', True),
    ('add(path, "only decisions weigh")', 'add(None, "only decisions weigh")', False),
    ('"only decisions weigh",', '"XXonly decisions weighXX",', True),
])
def test_a_hunk_that_is_cut_is_judged_by_its_changed_line(removed: str, added: str, is_text: bool) -> None:
    context = ["     if one:", "     else", " )"]
    assert _is_text([*context, f"-        {removed}", f"+        {added}"]) is is_text


def test_a_mutant_names_its_function() -> None:
    method = Mutant("pipeline.core.decide.live.xǁLiveǁitems__mutmut_12", "pipeline/core/decide/live.py", "", "")
    function = Mutant("pipeline.core.decide.caps.x_uses__mutmut_3", "pipeline/core/decide/caps.py", "", "")

    assert method.function == "pipeline.core.decide.live.Live.items"
    assert function.function == "pipeline.core.decide.caps.uses"


def test_the_score_counts_what_survived_by_folder() -> None:
    path = "pipeline/core/decide/caps.py"
    mutants = [Mutant(f"pipeline.core.decide.caps.x_uses__mutmut_{n}", path, "a", "b") for n in range(4)]
    outcomes = dict(zip((mutant.name for mutant in mutants), ("killed", "timeout", "survived", "killed"), strict=True))

    told = text(Result(1, 17, mutants, [], outcomes))

    assert "4 of 17 mutants judged, 3 noticed: **75.0 %**" in told
    assert "| `pipeline/core/decide` | 4 | 3 | 75 % |" in told
    assert told.count("`pipeline.core.decide.caps.uses`") == 1
