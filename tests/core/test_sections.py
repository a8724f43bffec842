"""The laws of sections: whatever is known of somebody merges, goes back and is stored by the same rules."""

from __future__ import annotations

import types
import typing
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.codecs import state as state_codec
from pipeline.codecs.state import SubjectStates
from pipeline.core.identity import merge, undo
from pipeline.core.model.values import Value
from pipeline.core.model.words import Scalar
from pipeline.core.sections import section as sections
from pipeline.core.sections.links import HELD
from pipeline.core.sections.merges import Merge
from pipeline.core.sections.section import State, changed, section_bytes
from pipeline.core.sections.seen import NOTHING, Seen
from pipeline.core.sections.traits import Trait
from pipeline.core.subject import Account, Erased, Given, Person, Redirect
from tests.support.golden import STATES

KINDS: list[type[State]] = [Person, Redirect, Account, Erased]
PAIRS = [(kind, name) for kind in KINDS for name in kind.SECTIONS]
NAMES = st.sampled_from(["a", "b", "c", "d"])
TIMES = st.integers(1, 9)


#: What holds a section's bytes, or a state.
WITHIN: dict[Any, st.SearchStrategy[Any]] = {
    Merge: st.builds(Merge, NAMES, TIMES, st.sampled_from([{}, {"traits": section_bytes({"a": Trait(1, 1)})}])),
    Given: st.builds(Given, NAMES, NAMES, TIMES, st.just(Person(profile_id="shop/x", heard_ms=3))),
}


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Any value of a section's type, of so few names and moments that two of them often meet."""
    origin, arms = typing.get_origin(hint), typing.get_args(hint)
    if hint == Scalar:
        return st.none() | st.booleans() | TIMES | NAMES
    if origin in (types.UnionType, typing.Union):
        return st.one_of([st.none() if arm is types.NoneType else values(arm) for arm in arms])
    if origin is dict:
        return st.dictionaries(NAMES, values(arms[1]), max_size=3)
    if origin is tuple:
        return st.lists(values(arms[0]), max_size=3).map(tuple)
    if hint is Seen:
        return st.lists(st.tuples(NAMES, TIMES), max_size=3).map(seen)
    if hint in WITHIN:
        return WITHIN[hint]
    if isinstance(hint, type) and issubclass(hint, Value):
        return st.builds(hint, **{name: values(inner) for name, inner in typing.get_type_hints(hint).items()})
    simple: dict[Any, st.SearchStrategy[Any]] = {
        str: NAMES, int: TIMES, bool: st.booleans(), bytes: st.just(b""), float: st.just(0.5)}
    return simple[hint] if hint in simple else st.sampled_from(list(hint))


def seen(events: list[tuple[str, int]]) -> Seen:
    kept = NOTHING
    for name, at_ms in events:
        kept = kept.after(name, at_ms)
    return kept


def of_kind(kind: type[State], **fixed: Any) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(kind)
    return st.builds(kind, **{name: values(hints[name]) for name in kind.SECTIONS if name not in fixed},
                     **{name: st.just(value) for name, value in fixed.items()})


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_state_comes_back_from_its_bytes_whatever_was_looked_at_and_changed(
    kind: type[State], data: st.DataObject
) -> None:
    one, other = data.draw(of_kind(kind)), data.draw(of_kind(kind))
    # Small ones go another way, to the same bytes; a state may become small, or cease to be.
    with patch.object(sections, "SMALL_BYTES_MAX", data.draw(st.sampled_from([0, 40, 200, 16_384]))):
        _comes_back(kind, data, one, other)


def _comes_back(kind: type[State], data: st.DataObject, one: State, other: State) -> None:
    stored: Any = state_codec.decode(state_codec.encode(one))
    for name in data.draw(st.sets(st.sampled_from([*kind.SECTIONS]))):
        assert getattr(stored, name) == getattr(one, name)
    changes = {name: getattr(other, name) for name in data.draw(st.sets(st.sampled_from([*kind.SECTIONS])))}
    after, expected = changed(stored, **changes), changed(one, **changes)
    assert state_codec.encode(after) == state_codec.encode(expected)
    assert SubjectStates.encode(after) == state_codec.encode(expected) == state_codec.encode(after)
    again = {name: getattr(one, name) for name in changes}
    assert SubjectStates.encode(changed(after, **again)) == state_codec.encode(one)
    assert state_codec.decode_whole(state_codec.encode(after)) == expected == after
    assert state_codec.encode(stored) == state_codec.encode(one), "what it was made of is as it was"


@pytest.mark.parametrize(("kind", "name"), PAIRS)
def test_nothing_but_the_empty_section_is_false(kind: type[State], name: str) -> None:
    empty = kind.SECTIONS[name].empty
    assert not empty and getattr(kind(), name) == empty
    assert state_codec.encode(kind(**{name: empty})) == state_codec.encode(kind())


@pytest.mark.parametrize(("kind", "name"), PAIRS)
def test_of_a_large_state_what_is_looked_at_is_decoded_and_nothing_else(
    kind: type[State], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sections, "SMALL_BYTES_MAX", 0)
    whole = next(state for state in STATES.values() if type(state) is kind)
    stored: Any = state_codec.decode(state_codec.encode(whole))
    assert stored.__dict__ == {}
    assert getattr(stored, name) == getattr(whole, name) and stored.__dict__.keys() == {name}


@pytest.mark.parametrize("kind", [Person, Account])
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_merging_with_nobody_changes_nothing_that_counts(kind: Any, data: st.DataObject) -> None:
    own = data.draw(of_kind(kind, profile_id="shop/own"))
    nobody = kind(profile_id="shop/other")
    both = merge.merged(own, nobody)
    for name, section in kind.SECTIONS.items():
        if section.counts:
            assert getattr(both, name) == getattr(own, name), name


@given(own=of_kind(Person, profile_id="shop/own", merged={}),
       given_=of_kind(Person, profile_id="shop/given", merged={}))
@settings(max_examples=150, deadline=None)
def test_a_merge_undone_leaves_no_yes_and_no_trait_that_was_not_there(own: Person, given_: Person) -> None:
    back = undo.without(merge.merged(own, given_, "e", 5), given_, 9, "given")
    for name in ("traits", "accounts"):
        assert getattr(back, name) == getattr(own, name), name
    assert {key for key, one in back.consent.items() if one.granted} <= {
        key for key, one in own.consent.items() if one.granted}
    assert "shop/given" not in back.merged


@given(given_=of_kind(Person, profile_id="shop/given", merged={}))
@settings(max_examples=60, deadline=None)
def test_what_counts_in_a_given_up_state_is_remembered_to_be_undone(given_: Person) -> None:
    whole = merge.merged(Person(profile_id="shop/own"), given_, "e", 5)
    assert ("shop/given" in whole.merged) is merge.substantial(given_)
    held = {name: link for name, link in given_.links.items() if link.outcome in HELD}
    assert held.keys() <= whole.links.keys()


@pytest.mark.parametrize("small", [0, 16_384])
def test_stored_bytes_with_a_section_that_nobody_declared_are_refused(
    small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sections, "SMALL_BYTES_MAX", small)
    stored = Erased(profile_id="shop/x", at_ms=1).encoded()
    with pytest.raises(msgspec.DecodeError, match="Erased has no section nickname"):
        State.decoded(stored[:1] + msgspec.msgpack.encode({"at_ms": 1, "nickname": "x"}))


def test_a_section_that_nobody_declared_is_refused() -> None:
    with pytest.raises(TypeError, match="Person has no nickname"):
        Person(nickname="x")  # type: ignore[call-arg]
