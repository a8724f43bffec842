"""What a reader refuses and what it takes: types, units, identifiers. Nothing is guessed."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.identity.identifiers import IdentifierError, normalised
from pipeline.core.identity.identity_rules import DEFAULT, TYPES
from pipeline.core.rules import readers
from pipeline.core.rules.facts import CONVERT
from pipeline.core.rules.readers import READERS, Unreadable, fitting

GERMAN = replace(DEFAULT, phone_region="DE")


@pytest.mark.parametrize(("sent", "read"), [
    ("2026-09-01", "2026-09-01T00:00:00"), ("2026-09-01T10:00:00+0200", "2026-09-01T08:00:00"),
    ("2026-09-01T10:00Z", "2026-09-01T10:00:00"), ("2026-09-01 10:00:00", "2026-09-01T10:00:00"),
    ("2026-09-01T10:00:00.123456789Z", "2026-09-01T10:00:00.123456"), ("2026-09-01t10:00:00z", "2026-09-01T10:00:00"),
    ("2026-09-01T10:00:00-05", "2026-09-01T15:00:00"), (1_788_256_800_000, "2026-09-01T10:00:00"),
    ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00"), ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59"),
])
def test_a_moment_in_each_of_its_spellings(sent: Any, read: str) -> None:
    assert readers.moment(sent) == datetime.fromisoformat(read).replace(tzinfo=UTC)


@pytest.mark.parametrize("sent", [
    1_788_256_800, 45_688, "45688", "20250131", 20_250_131, 0, -1, True, "soon", "2026-02-30", "2026-9-1",
    "2026-09-01T25:00Z", "0001-01-01T00:00:00+14:00", 1e30, [], {}, "2026-W01-1", "2026-09-01T10:00:00 Europe/Berlin",
    "٢٠٢٦-٠٩-٠١", "2026-09-01" * 20])
def test_what_may_be_seconds_days_or_nothing_is_no_moment(sent: Any) -> None:
    with pytest.raises(Unreadable, match="2026-01-31T08:00:00Z"):
        readers.moment(sent)


@pytest.mark.parametrize(("type_", "sent", "read"), [
    ("date", "2026-01-31", date(2026, 1, 31)),
    ("int", 18.0, 18), ("int", 18, 18), ("double", 18, 18.0), ("list(string)", ["boots"], ("boots",)),
    ("list(string)", "a, b", ("a", "b")), ("bool", True, True), ("string", "80331", "80331")])
def test_a_value_that_fits_is_taken(type_: str, sent: Any, read: Any) -> None:
    assert READERS[type_](sent) == read and CONVERT[type_](sent) == read


@pytest.mark.parametrize(("type_", "sent"), [
    ("int", "18"), ("int", 18.5), ("int", True), ("int", 1e300), ("string", 80331), ("string", True), ("bool", "true"),
    ("bool", 1), ("double", "1.5"), ("double", True), ("timestamp", 1_788_256_800), ("duration", 5),
    ("duration", "PT5M"), ("date", "2026-01-31T00:00:00Z"), ("date", "2026-02-30"), ("date", "31.01.2026"),
    ("date", "20260131"), ("date", "2026-W05-6"), ("date", 1_788_256_800_000), ("date", "２０２６-01-31"),
    ("list(string)", [1]), ("list(string)", 7)])
def test_a_value_of_another_type_is_refused(type_: str, sent: Any) -> None:
    with pytest.raises(Unreadable):
        READERS[type_](sent)
    assert CONVERT[type_](sent) is None


_anything = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=40),
                      st.lists(st.text(max_size=5), max_size=3), st.dictionaries(st.text(max_size=3), st.integers()))


@given(st.sampled_from(sorted(READERS)), _anything)
def test_a_reader_takes_or_refuses_and_never_repeats_what_it_refuses(type_: str, sent: Any) -> None:
    try:
        READERS[type_](sent)
    except Unreadable as error:
        assert len(repr(sent)) < 9 or repr(sent).strip("'") not in str(error)


# -- identifiers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [
    "12", "2026-01-01", "01.02.2026", "unknown 12345", "+49 6X XX XX 83", "Abc811hotmail.com", "15123456789.0",
    "+49 30 1234567 ext 11", "+49 30 1234567 ext 12", "+49 30 1234567;ext=11", "+49 30 1234567 x11", "+", "0000000000",
    "+1 000 000 0000", "1", "110", "()", "+49", "٠٣٠١٢٣٤٥٦٧"])
def test_what_is_no_valid_number_is_refused(value: str) -> None:
    with pytest.raises(IdentifierError):
        normalised("phone", value, GERMAN)


@pytest.mark.parametrize(("region", "value"), [
    ("DE", "20260101"), ("DE", "20250131"), ("DE", "31121999"), ("DE", "12311999"), ("DE", "1788256800"),
    ("DE", "1788256800000"), ("DE", "978307200"), ("DE", "4133980799"), ("DE", "20260101.0"), ("DE", "2026 01 01"),
    ("DE", "01 02 2026"), ("DE", "2.026.0101"), ("DE", "２０２６０１０１"), ("DK", "20260101"), ("NO", "31121999"),
    ("US", "1788256800"), ("FR", "1788256800"), ("ES", "1788256800000"), (None, "20260101"),
])
def test_digits_that_may_be_a_date_or_a_time_are_nobody_s_number(region: str | None, value: str) -> None:
    with pytest.raises(IdentifierError, match=r"as \+\d+"):
        normalised("phone", value, replace(DEFAULT, phone_region=region))


@pytest.mark.parametrize(("region", "value", "read"), [
    ("DK", "+45 20260101", "+4520260101"), ("DK", "20 26 01 01", "+4520260101"), ("DE", "030 12026", "+493012026"),
    ("US", "2125551234", "+12125551234"), ("US", "(212) 555-1234", "+12125551234"),
    ("US", "12125551234", "+12125551234"),
    ("ES", "978307200", "+34978307200"), ("IT", "3331234567", "+393331234567"), ("DE", "15123456789", "+4915123456789"),
    ("DE", "+491788256800", "+491788256800"), ("DE", "0178 8256800", "+491788256800"),
    ("DE", "01788256800", "+491788256800"),
])
def test_a_number_that_is_written_as_one_is_taken(region: str, value: str, read: str) -> None:
    assert normalised("phone", value, replace(DEFAULT, phone_region=region)) == read


@given(st.integers(1_000_000_000_000, 1_999_999_999_999), st.sampled_from(["DE", "US", "DK", "FR", "ES", "IN", "AU"]),
       st.sampled_from(["date", "day first", "s", "ms"]))
def test_no_date_or_time_of_this_age_becomes_a_number(at_ms: int, region: str, form: str) -> None:
    at = datetime.fromtimestamp(at_ms / 1_000, UTC)
    text = {"date": f"{at:%Y%m%d}", "day first": f"{at:%d%m%Y}", "s": str(at_ms // 1_000), "ms": str(at_ms)}[form]
    if not text.startswith("0"):
        with pytest.raises(IdentifierError):
            normalised("phone", text, replace(DEFAULT, phone_region=region))


@pytest.mark.parametrize("value", ["4915123456789", "+49 151 23456789", "0151 23456789", "0049-151-23456789",
                                   "(0151) 23456789", "０１５１２３４５６７８９"])
def test_one_number_in_each_of_its_spellings(value: str) -> None:
    assert normalised("phone", value, GERMAN) == "+4915123456789"


@pytest.mark.parametrize("value", [
    "*|UID|*", "{user_id}", "{{user_id}}", "${uid}", "%USER_ID%", "%%uid%%", "<user_id>", "[uid]", "(not set)",
    "(none)",
    "Optional(x)", 'Optional("x")', "__UID__", "$USER_ID", "undefined", "NULL", "None", "NaN", "[object Object]",
    "00000000-0000-0000-0000-000000000000", "0", "-1", "not set", "user_id", "{{ user.id | default: '' }}",
    "d41d8cd98f00b204e9800998ecf8427e", "D41D8CD98F00B204E9800998ECF8427E",
    "da39a3ee5e6b4b0d3255bfef95601890afd80709",
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"])
@pytest.mark.parametrize("type_", [name for name in TYPES if name not in ("email", "phone")])
def test_what_many_visitors_share_is_nobody(type_: str, value: str) -> None:
    with pytest.raises(IdentifierError, match="stands for nobody"):
        normalised(type_, value)


@pytest.mark.parametrize("value", [
    "%s", "%d", "%i", "%1$s", "%(user)s", "%5.2f", "%lld", "%@", "#N/A", "#REF!", "#NAME?", "#VALUE!", "#DIV/0!", "#NV",
    "#WERT!", "#####", '""', "''", '"null"', "'undefined'", "“none”", "«NaN»", '"0"', '" "', "Infinity", "-Infinity",
    "1.5E+12", "1,5E+12", "1E+12", "-1.23e+21", "4.9E12", "ffffffff-ffff-ffff-ffff-ffffffffffff", "FFFFFFFFFFFFFFFF",
    "{FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF}", "null@null.null", "none@none.com", "NoEmail@noemail.com",
    "no-email@no-email.com", "undefined@undefined.undefined", "test@test.com",
    "}", "{{0", "{null", '{ "0" }',
    hashlib.sha256(b"#N/A").hexdigest(), hashlib.sha1(b"Infinity", usedforsecurity=False).hexdigest()])
@pytest.mark.parametrize("type_", [name for name in TYPES if name != "phone"])
def test_what_a_format_a_spreadsheet_or_a_form_leaves_is_nobody(type_: str, value: str) -> None:
    with pytest.raises(IdentifierError, match="stands for nobody"):
        normalised(type_, value)


@pytest.mark.parametrize("value", [
    "o'neil", '"ann"', "1e5", "12e45", "5e10", "1.5", "#17", "#ann", "50%", "100%s", "fffffff", "ffffffff1", "info",
    "final", "null-17", "%user", "12.5E+12"])
def test_what_only_looks_a_little_like_it_is_taken(value: str) -> None:
    assert normalised("user_id", value) == value


@pytest.mark.parametrize("value", [
    "nina@none.com", "none@example.com", "ada@test.com", "test@example.com", "null@gmail.com"])
def test_an_address_is_nobody_only_where_both_its_parts_say_so(value: str) -> None:
    assert normalised("email", value) == value


@pytest.mark.parametrize("value", ["user-17", "17", "a@b", "u_1", "id-9", "(c) 2026 ann", "x{1}", "A_B__C"])
def test_ordinary_ids_are_taken(value: str) -> None:
    assert normalised("user_id", value) == value


def test_a_device_may_stand_in_braces() -> None:
    assert normalised("device", "{AAAAAAAA-8B86-D011-B42D-00C04FC964FF}") == "aaaaaaaa-8b86-d011-b42d-00c04fc964ff"


@pytest.mark.parametrize("invisible", ["\u200b", "\u200d", "\ufeff", "\u00ad", "\u2060", "\u2028", "\x00", "\x7f"])
@pytest.mark.parametrize("type_", TYPES)
def test_invisible_characters_are_refused(type_: str, invisible: str) -> None:
    value = {"email": "ada@exa{}mple.com", "phone": "+49 151{} 23456789"}.get(type_, "user{}17").format(invisible)
    with pytest.raises(IdentifierError):
        normalised(type_, value, GERMAN)


def test_one_domain_in_each_of_its_spellings() -> None:
    spellings = ("ada@bücher.example", "ADA@BÜCHER.example", "ada@xn--bcher-kva.example", "ada＠bücher．example")
    assert {normalised("email", one) for one in spellings} == {"ada@xn--bcher-kva.example"}
    for wrong in ("ada@xn--\u00fc.example", "ada@xn--a.example"):
        with pytest.raises(IdentifierError):
            normalised("email", wrong)


@given(st.sampled_from(TYPES), st.text(max_size=30))
def test_an_identifier_is_read_as_it_was_read(type_: str, value: str) -> None:
    """What a reader makes of a value it makes of that again."""
    try:
        once = normalised(type_, value, GERMAN)
    except IdentifierError:
        return
    assert normalised(type_, once, GERMAN) == once


@given(st.sampled_from(sorted(READERS)), st.none() | st.booleans() | st.integers() | st.floats() | st.text())
def test_rules_see_what_the_reader_gives_also_where_it_is_not_asked(type_: str, value: Any) -> None:
    seen, read = CONVERT[type_](value), fitting(READERS[type_], value)
    assert (type(seen), repr(seen)) == (type(read), repr(read))
