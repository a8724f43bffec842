"""The model's one writer: each update once, whatever is repeated or overtaken; snapshots cut, decayed, numbered."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.model.learning import ModelUpdate, Observation
from pipeline.core.model.words import ModelUse
from pipeline.core.models import writer
from pipeline.core.models.learner import Feature
from pipeline.core.models.snapshots import opened
from pipeline.core.models.updates import deltas, joined
from pipeline.core.sections.section import changed
from pipeline.core.subject import CUT_TIMER, ModelState, Source
from tests.core import build as policies
from tests.core.models.build import learner

KEY = "shop/%m"
NOW_MS = 1_790_000_000_000
BETA = learner("beta")


def update(offset: int, source: str = "feedback.events@1/0", item: str = "a", reward: float = 1.0) -> ModelUpdate:
    return ModelUpdate(KEY, BETA.form, [Observation(item, (), reward)], source, offset)


def after(updates: list[ModelUpdate], state: ModelState | None = None) -> ModelState:
    state = state or ModelState(profile_id=KEY)
    for one in updates:
        found = writer.learnt(state, one, BETA, NOW_MS)
        state = state if found is None else found[0]
    return state


def shown(state: ModelState, item: str = "a") -> float:
    return float(np.frombuffer(state.items[item])[0])


@given(st.data())
def test_repeated_and_reordered_updates_count_once(data: st.DataObject) -> None:
    once = [update(offset, f"feedback.events@1/{number}") for number in range(3) for offset in range(0, 40, 3)]
    sent = data.draw(st.permutations(once + data.draw(st.lists(st.sampled_from(once), max_size=30))))
    state = after(sent)
    assert shown(state) == state.learnt == len(once)


def test_what_is_older_than_the_window_is_not_counted_rather_than_twice() -> None:
    state = after([update(writer.WINDOW + 10), update(10), update(11)])
    assert shown(state) == 2.0
    assert writer.learnt(state, update(10), BETA, NOW_MS) is None


def test_the_window_is_kept_in_few_bytes() -> None:
    state = after([update(0), update(1_000_000), update(1_000_001)])
    assert state.sources == {"feedback.events@1/0": Source(1_000_001, b"\x03")}


def test_a_topic_that_was_made_anew_begins_again_and_replaces_its_former_self() -> None:
    state = after([update(70), update(3, "feedback.events@2/0"), update(4, "feedback.events@2/1")])
    assert shown(state) == 3.0 and set(state.sources) == {"feedback.events@2/0", "feedback.events@2/1"}


def test_updates_of_a_former_form_are_known_and_change_nothing() -> None:
    old = replace(BETA, outcome="order")
    state = after([update(1)])
    found = writer.learnt(state, update(2), old, NOW_MS)
    assert found is not None and found[1] == 0
    assert found[0].form == old.form and found[0].items == {} and found[0].number == state.number


def test_a_snapshot_is_due_by_time_or_by_count_and_never_too_soon() -> None:
    state = after([update(1)])
    assert state.timers[CUT_TIMER] == NOW_MS + BETA.every_ms
    cut, snapshot = writer.cut(state, BETA, {}, NOW_MS)
    assert snapshot is not None and (snapshot.number, cut.number, cut.timers) == (1, 1, {})
    many = replace(BETA, after=2)
    for offset in (2, 3):
        found = writer.learnt(cut, update(offset), many, NOW_MS + 1_000)
        assert found is not None
        cut = found[0]
    assert cut.timers[CUT_TIMER] == NOW_MS + writer.GAP_MS_MIN
    assert writer.cut(cut, BETA, {}, NOW_MS)[0].number == 2


def test_nothing_is_cut_where_nothing_was_learnt_since() -> None:
    cut, _ = writer.cut(after([update(1)]), BETA, {}, NOW_MS)
    assert writer.cut(cut, BETA, {}, NOW_MS + 1)[1] is None


def test_a_pinned_model_learns_on_and_cuts_nothing() -> None:
    found = writer.learnt(ModelState(profile_id=KEY), update(1), replace(BETA, pin=3), NOW_MS)
    assert found is not None and found[1] == 1 and found[0].timers == {}


def test_what_was_learnt_is_halved_in_a_half_life() -> None:
    one = replace(BETA, half_life_ms=1_000_000)
    state = changed(after([update(1)]), cut_ms=NOW_MS - 1_000_000)
    assert shown(writer.cut(state, one, {}, NOW_MS)[0]) == 0.5


def test_new_items_are_expected_to_be_as_those_like_them() -> None:
    one = replace(BETA, cold_start=(Feature("candidate.value"),), prior_mean=0.2, ridge=1e-3, items_max=10)
    live = policies.made({}, {name: {"attributes": {"value": value}}
                              for name, value in {"a": 0.0, "b": 1.0, "c": 2.0, "new": 3.0}.items()})
    shares = {"a": 0.2, "b": 0.3, "c": 0.4}
    state = ModelState(profile_id=KEY)
    for number, (item, share) in enumerate(shares.items()):
        seen = [Observation(item, (), float(n < share * 100)) for n in range(100)]
        found = writer.learnt(state, ModelUpdate(KEY, one.form, seen, "feedback.events@1/0", number), one, NOW_MS)
        assert found is not None
        state = found[0]
    _, record = writer.cut(state, one, live.items, NOW_MS)
    snapshot = None if record is None else opened(one, record)
    assert snapshot is not None
    columns = [one.item(live.items[name].facts) for name in ("c", "new")]
    known, new = snapshot.posterior(one, ["c", "new"], columns).means().tolist()  # type: ignore[arg-type]
    assert known == pytest.approx(0.4, abs=0.01) and new == pytest.approx(0.5, abs=0.02)


def test_one_record_makes_one_update_of_each_model() -> None:
    use, other = ModelUse("m", 1, {"a": (), "b": ()}, BETA.form), ModelUse("n", 1, {"a": (1.0,)}, "f")
    made = [deltas("shop", use, "a", 1.0, True), deltas("shop", other, "a", 1.0, True), deltas("shop", use, "b", -1.0,
            False, 0.5), deltas("shop", use, "fallback", 1.0, True)]
    found = joined([one for one in made if one is not None], "feedback.events@1/0", 7)
    assert [(one.model_key, one.source, one.offset) for one in found] == [
        ("shop/%m", "feedback.events@1/0", 7), ("shop/%n", "feedback.events@1/0", 7)]
    assert found[0].observations == [Observation("a", (), 1.0), Observation("b", (), -1.0, False, 0.5)]
