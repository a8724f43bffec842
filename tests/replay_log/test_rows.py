"""A row becomes an impression, or is refused with the column and what is wrong with it."""

from __future__ import annotations

import math
import time
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.identity.identifiers import subject_key
from replay_log.errors import RowError
from replay_log.mapping import Consent, Mapping, Propensity, Simulated, Source, Subject, Timestamp
from replay_log.rows import Impression, as_text, read_impression

PLAIN = Mapping(subject=Subject(columns=["user"]), item=Source(column="item"), placement=Source(constant="home"))
ROW: dict[str, Any] = {"user": "u1", "item": "i1"}


def read(row: dict[str, Any], mapping: Mapping) -> Impression:
    return read_impression(1, row, mapping, lambda who: (who, []))


def changed(**fields: Any) -> Mapping:
    return PLAIN.model_copy(update=fields)


@pytest.mark.parametrize(("value", "text"), [
    ("a", "a"), ("", None), (None, None), (True, "true"), (False, "false"), (14, "14"), (14.0, "14"), (0.1, "0.1"),
    (1e300, "1e+300"), (math.nan, None), (Decimal("1.50"), "1.50"), (date(2024, 2, 29), "2024-02-29"),
    (datetime(2024, 2, 29, tzinfo=UTC), "2024-02-29T00:00:00+00:00"),
])
def test_a_value_has_one_spelling_whatever_the_file_made_of_it(value: Any, text: str | None) -> None:
    assert as_text(value) == text


@pytest.mark.parametrize(("row", "mapping", "says"), [
    ({"user": None, "item": "i"}, PLAIN, "user: empty, so there is nobody to decide for"),
    ({"user": "u"}, PLAIN, "item: empty, but it is the item"),
    ({**ROW, "item": {"id": 1}}, PLAIN, "item: a dict is not a single value; map `item.<name>` to reach inside it"),
    ({**ROW, "pos": 9}, changed(placement=Source(column="pos", values={"1": "left"})),
     "pos: `9` is not among the mapping's values of placement (1)"),
    ({**ROW, "click": "maybe"}, changed(click="click"),
     "click: `maybe` is neither true nor false (1/0, true/false, yes/no)"),
    ({**ROW, "value": "much"}, changed(value="value"), "value: `much` is not a number"),
    ({**ROW, "value": "inf"}, changed(value="value"), "value: `inf` is not a finite number"),
    ({**ROW, "p": 0}, changed(propensity=Propensity(column="p")),
     "p: `0.0` is not a probability above 0 and at most 1"),
    ({**ROW, "p": 1.5}, changed(propensity=Propensity(column="p")),
     "p: `1.5` is not a probability above 0 and at most 1"),
    ({**ROW, "at": 1574553634}, changed(timestamp=Timestamp(column="at")),
     "at: `1574553634` is not an ISO 8601 time; set `unit: s` or `unit: ms`"),
    ({**ROW, "at": "soon"}, changed(timestamp=Timestamp(column="at", unit="s")),
     "at: `soon` is not a number since 1970"),
    ({**ROW, "at": "1e30"}, changed(timestamp=Timestamp(column="at", unit="ms")),
     "at: `1e30` is not a number since 1970"),
    ({**ROW, "age": "old"}, changed(traits={"age": Source(column="age", type="integer")}),
     "age: `old` is not of type integer"),
])
def test_a_row_that_cannot_be_used_says_which_column_and_why(row: dict[str, Any], mapping: Mapping, says: str) -> None:
    with pytest.raises(RowError) as caught:
        read(row, mapping)
    assert str(caught.value) == says


@pytest.mark.parametrize(("value", "unit"), [
    ("2019-11-24 00:00:34.762+00:00", "iso"), ("2019-11-24T00:00:34.762", "iso"),
    ("2019-11-24T09:00:34.762+09:00", "iso"), (1574553634.762, "s"), (1574553634762, "ms"),
    (datetime(2019, 11, 24, 0, 0, 34, 762_000), "iso"),  # noqa: DTZ001 - Parquet knows times without a zone
])
def test_a_time_may_be_written_in_many_ways(value: Any, unit: Any) -> None:
    mapping = changed(timestamp=Timestamp(column="at", unit=unit))
    assert read({**ROW, "at": value}, mapping).logged_at_ms == 1_574_553_634_762


def test_a_time_without_a_zone_is_utc_wherever_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        found = read({**ROW, "at": "2019-11-24T00:00:34.762"}, changed(timestamp=Timestamp(column="at")))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert found.logged_at_ms == 1_574_553_634_762


def test_what_is_missing_is_left_out_and_not_made_up() -> None:
    mapping = changed(
        traits={"country": Source(column="country"), "plan": Source(constant="free")},
        attributes={"page": Source(column="page.path")}, scenario=Source(column="scenario"),
        timestamp=Timestamp(column="at"), value="price", propensity=Propensity(column="p"), click="click",
    )
    found = read(ROW, mapping)
    assert (found.traits, found.attributes, found.scenario) == ({"plan": "free"}, {}, "")
    assert (found.logged_at_ms, found.value, found.propensity, found.clicked) == (None, None, None, False)


def test_a_dotted_column_reaches_inside_but_a_column_of_that_name_comes_first() -> None:
    mapping = changed(attributes={"page": Source(column="page.path")})
    assert read({**ROW, "page": {"path": "/a"}}, mapping).attributes == {"page": "/a"}
    assert read({**ROW, "page": {"path": "/a"}, "page.path": "/b"}, mapping).attributes == {"page": "/b"}


def test_types_are_what_the_mapping_says() -> None:
    traits = {
        "zip": Source(column="zip"), "age": Source(column="age", type="integer"),
        "score": Source(column="score", type="number"), "vip": Source(column="vip", type="boolean"),
    }
    row = {**ROW, "zip": "007", "age": "30", "score": "1.5", "vip": "yes"}
    found = read(row, changed(traits=traits)).traits
    assert found == {"zip": "007", "age": 30, "score": 1.5, "vip": True}


def test_simulated_subjects_split_those_who_look_alike_the_same_way_each_time() -> None:
    subject = Subject(columns=["a", "b"], simulated=Simulated(by="at", buckets=4))
    rows = [{"a": "x", "b": "y", "item": "i", "at": f"2024-01-01T00:00:{n:02}"} for n in range(60)]
    who = [read(row, changed(subject=subject)).subject for row in rows]
    assert len(set(who)) == 4
    assert all(one.startswith("simulated-") for one in who)
    elsewhere = [read({**row, "b": "z"}, changed(subject=subject)).subject for row in rows]
    assert set(elsewhere).isdisjoint(who)
    assert who == [read(row, changed(subject=subject)).subject for row in rows]


def test_an_identifier_that_stands_for_nobody_makes_a_bad_row() -> None:
    def subject_of(who: str) -> tuple[str, list[str]]:
        return subject_key((b"key",), "shop", "user_id", who), []

    with pytest.raises(RowError, match="user: this value stands for nobody"):
        read_impression(1, {**ROW, "user": "undefined"}, PLAIN, subject_of)


@given(st.floats(0, 1))
def test_about_the_documented_share_of_subjects_has_no_consent(share: float) -> None:
    mapping = changed(consent=Consent(purpose="ads", simulated_missing_share=share))
    found = [read({**ROW, "user": f"u{n}"}, mapping).consent for n in range(400)]
    assert set(found) <= {True, None}
    assert abs(found.count(None) / 400 - share) < 0.1


def test_consent_is_what_the_log_says_where_it_does() -> None:
    by_column = changed(consent=Consent(purpose="ads", column="allows"))
    said = [read({**ROW, "allows": value}, by_column).consent for value in ("yes", "no", None)]
    assert said == [True, False, None]
    assert read(ROW, changed(consent=Consent(purpose="ads", granted=False))).consent is False
    assert read(ROW, PLAIN).consent is None
