"""What is kept must stay readable: each format version is written down, and its golden sample decodes for ever."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest

from pipeline.codecs import state
from pipeline.core.model.values import replaced
from pipeline.core.sections.merges import Merge
from pipeline.core.subject import Given, Person, Redirect, Subject
from tests.support.golden import PROFILE, SAMPLES_DIR, STATE_DIR, STATES, plain, state_format

VERSIONS = range(1, state.VERSION + 1)


@pytest.mark.parametrize("name", STATES)
def test_a_state_comes_back_equal_and_of_the_same_types(name: str) -> None:
    assert state.decode(state.encode(STATES[name])) == STATES[name]
    assert repr(state.decode(state.encode(STATES[name]))) == repr(STATES[name])


@pytest.mark.parametrize("name", STATES)
def test_the_golden_states_use_every_section(name: str) -> None:
    assert STATES[name].held().keys() == STATES[name].SECTIONS.keys()


def test_the_format_is_the_one_written_down_for_its_version() -> None:
    written_down = json.loads((STATE_DIR / f"subject.v{state.VERSION}.json").read_text("utf-8"))
    assert state_format() == written_down, (
        "the sections changed: run `python -m tests.support.golden --next`, then without; where there are not only "
        "more of them, add an upcaster from the version before in pipeline/codecs/state.py"
    )


@pytest.mark.parametrize("name", STATES)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_golden_sample_of_every_version_decodes(version: int, name: str) -> None:
    data = (SAMPLES_DIR / f"state_{name}.v{version}.bin").read_bytes()
    assert data[0] == version
    assert state.decode(data).profile_id == STATES[name].profile_id
    if version == state.VERSION:
        written_down = (SAMPLES_DIR / f"state_{name}.v{version}.json").read_text("utf-8")
        assert json.loads(written_down) == plain(state.decode(data))


def test_a_version_has_an_upcaster_unless_the_next_only_has_more_sections() -> None:
    assert set(state.UPCASTERS) <= set(VERSIONS) - {state.VERSION}
    formats = [json.loads((STATE_DIR / f"subject.v{version}.json").read_text("utf-8")) for version in VERSIONS]
    for version, (older, newer) in enumerate(pairwise(formats), 1):
        only_more = all(sections.items() <= newer[kind].items() for kind, sections in older.items())
        assert only_more or version in state.UPCASTERS, f"say in UPCASTERS how version {version} becomes the next"


def test_a_version_from_the_future_stops_the_worker_instead_of_losing_fields() -> None:
    with pytest.raises(state.StateError, match="run at least the version that wrote it"):
        state.decode(bytes((state.VERSION + 1,)) + state.encode(PROFILE)[1:])


NOT_UTF_8 = b"\x01\x01\x81\xaaprofile_id\xa1\x80"
NO_SUCH_KIND = b"\x01\x63\x80"
NO_SUCH_SECTION = b"\x01\x01\x81\xa3new\xc0"


@pytest.mark.parametrize("data", [
    b"", b"\x01", b"\x01\xff\xff", b"{}", NOT_UTF_8, NO_SUCH_KIND, NO_SUCH_SECTION, state.encode(PROFILE)[:-1]])
def test_what_is_no_profile_is_refused(data: bytes) -> None:
    with pytest.raises(state.StateError):
        state.decode_whole(data)


WRONG: Any = 5
DISPLACED = Merge("e", 1, {"traits": b"\x05"})


@pytest.mark.parametrize("within", [
    Person(traits=WRONG), Person(given=Given("t/b", "e", 1, Person(traits=WRONG))),
    Redirect(given=Given("t/b", "e", 1, Person(given=Given("t/c", "e", 1, Person(links=WRONG))))),
    Person(merged={"t/b": DISPLACED}), Person(merged={"t/b": replaced(DISPLACED, displaced={"nothing": b"\x80"})}),
    Person(given=Given("t/b", "e", 1, Person(merged={"t/c": DISPLACED}))),
])
def test_what_came_from_elsewhere_is_looked_at_to_the_bottom(within: Subject) -> None:
    with pytest.raises(state.StateError):
        state.decode_whole(state.encode(within))


def test_an_older_version_is_raised_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "VERSION", 3)
    monkeypatch.setitem(state.UPCASTERS, 1, lambda plain: plain | {"assignments": {"from": "one"}})
    monkeypatch.setitem(state.UPCASTERS, 2, lambda plain: plain | {"assignments": plain["assignments"] | {"to": "3"}})
    raised: Any = state.decode(b"\x01" + state.encode(PROFILE)[1:])
    assert raised.assignments == {"from": "one", "to": "3"}
