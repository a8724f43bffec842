"""A policy's times and lengths of time are read as every endpoint reads them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from pipeline.core.model.moments import millis
from pipeline.core.rules import readers
from pipeline.core.rules.cel.functions import EvaluationError, parse_duration
from pipeline.ingest.event_fields import epoch_ms
from pipeline.ingest.field_types import Moment as EndpointMoment
from pipeline.policy.definitions import ItemDefinition
from pipeline.policy.limit_definitions import WindowDefinition
from pipeline.policy.values import SPAN_MS_MAX, Moment, Span

_ENDPOINT = TypeAdapter(EndpointMoment)
_MOMENT = TypeAdapter(Moment)
_SPAN = TypeAdapter(Span)


def _read(adapter: TypeAdapter[Any], value: object) -> Any:
    try:
        return adapter.validate_python(value)
    except ValidationError:
        return None


_digits = st.sampled_from(["2026", "01", "31", "08", "00", "30", "9999", "12", "59", "0001", "3", "٣", "３"])
_joints = st.sampled_from(["-", "-", ":", "T", "t", " ", "", "W", "Z", "z", "+", ".", ",", "+01:00", "-14:00", "\n",
                           "/"])
_moments = st.one_of(
    st.lists(st.one_of(_digits, _joints), max_size=14).map("".join),
    st.datetimes().map(datetime.isoformat), st.datetimes(timezones=st.timezones()).map(datetime.isoformat),
    st.datetimes(timezones=st.just(UTC)).map(lambda at: f"{at:%Y%m%dT%H%M%SZ}"),
    st.datetimes(timezones=st.just(UTC)).map(lambda at: f"{at:%G-W%V-%uT%H:%M:%SZ}"),
    st.dates().map(lambda day: day.isoformat()), st.integers(), st.floats(allow_nan=False), st.booleans(), st.none(),
    st.lists(st.integers(), max_size=2))


@given(_moments)
@example("2026-W05-6T08:00:00Z")
@example("20260131T080000Z")
@example("2026-01-31T08:00:00+00:00:30")
@example("2026-01-31T08Z")
@example("2026-01-31")
@example("2026-01-31T08:00:00.9999Z")
@example("9999-12-31T23:59:59-14:00")
@example("9999-12-31T23:59:59.9999Z")
@example(1_790_000_000_000)
@example("2026-01-31T08:00")
@example("1969-12-31T23:59:59.9999Z")
def test_a_moment_is_what_every_endpoint_takes_it_for(value: object) -> None:
    at = _read(_ENDPOINT, value) if value not in (None, "") else None
    assert _read(_MOMENT, value) == (None if at is None else epoch_ms(at))
    if at is not None:
        assert _read(_MOMENT, value) == millis(readers.moment(value))


@pytest.mark.parametrize("value", [
    "2026-01-31", "2026-01-31T00:00:00Z", "2026-01-31T01:00:00+01:00", "2026-01-31 00:00"])
def test_an_item_is_valid_from_the_first_moment_of_a_date_in_utc(value: str) -> None:
    item = ItemDefinition.model_validate({"kind": "offer", "variants": {"v": {}}, "valid_from": value})
    assert item.valid_from_ms == millis(datetime(2026, 1, 31, tzinfo=UTC))


_lengths = st.lists(st.tuples(
    st.one_of(st.integers(0, 9_999).map(str), st.sampled_from(["3", "３", "٣", "1.5", "-1", "", "0" * 70, "9" * 30])),
    st.sampled_from(["w", "d", "h", "m", "s", "ms", "us", "", "H", " d", "\n"])), max_size=4).map(
    lambda parts: "".join(number + unit for number, unit in parts))


@given(_lengths)
@example("３d")
@example("3d\n")
def test_a_length_of_time_is_what_rules_take_it_for(text: str) -> None:
    found = _read(_SPAN, text)
    try:
        read = parse_duration(text)
    except (EvaluationError, ValueError):
        read = None
    if found is not None:
        assert text.isascii() and text == text.strip()
        if read is not None:
            assert timedelta(milliseconds=found) == read
    elif read is not None and text.isalnum() and not text.endswith("us"):
        # Nought, and lengths past ten years, are none of a policy's.
        assert "us" in text or not timedelta(0) < read <= timedelta(milliseconds=SPAN_MS_MAX) or text == "0"


@pytest.mark.parametrize(("text", "hours"), [("7d", 168), ("2w", 336), ("1d12h", 36), ("90m", 1.5), ("1w1d1h", 193)])
def test_days_and_weeks_are_24_and_168_hours(text: str, hours: float) -> None:
    assert readers.length(text) == timedelta(hours=hours)
    assert WindowDefinition.model_validate(text).rolling_ms == round(hours * 3_600_000)


@given(st.text(max_size=8))
def test_a_length_of_anything_else_is_none(text: str) -> None:
    if not text.isascii():
        with pytest.raises(readers.Unreadable):
            readers.length(text)
