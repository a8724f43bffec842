"""TC strings: written here bit by bit, and published ones; what they say, and what they make of our purposes."""

from __future__ import annotations

import base64
from collections.abc import Sequence, Set
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.consent import answers, permission
from pipeline.core.consent.statements import of_tc_string
from pipeline.core.consent.tcf import TcfError, decode
from pipeline.core.model.records import Basis

from .build import made

#: From the documentation of IAB's own libraries, with a segment of disclosed vendors.
EXAMPLE: Final = (
    "COvFyGBOvFyGBAbAAAENAPCAAOAAAAAAAAAAAEEUACCKAAA.IFoEUQQgAIQwgIwQABAEAAAAOIAACAIAAAAQAIAgEAACEAAAAAgAQBAAAAAAAGBAAgA"
    "AAAAAAFAAECAAAgAAQARAEQAAAAAJAAIAAgAAAYQEAAAQmAgBC3ZAYzUw"
)
WRITTEN_MS: Final = 1_582_243_059_300
TCF: Final[dict[str, Any]] = {"vendor": 8, "purposes": {"personalization": [1, 3], "marketing": [1, 2, 4]}}
DAY_MS: Final = 86_400_000


def bits(value: int, size: int) -> str:
    return format(value, f"0{size}b")


def field(numbers: Set[int], size: int) -> str:
    return "".join("1" if number + 1 in numbers else "0" for number in range(size))


def ranges(numbers: Set[int]) -> str:
    """Each run of numbers as one entry: alone, or from and to."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    entries = ["0" + bits(run[0], 16) if len(run) == 1 else "1" + bits(run[0], 16) + bits(run[-1], 16) for run in runs]
    return bits(len(runs), 12) + "".join(entries)


def vendors(numbers: Set[int], by_range: bool) -> str:
    size = max(numbers, default=0)
    return bits(size, 16) + ("1" + ranges(numbers) if by_range else "0" + field(numbers, size))


def text_of(segment: str) -> str:
    padded = segment + "0" * (-len(segment) % 8)
    data = int(padded, 2).to_bytes(len(padded) // 8)
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def encode(
    *, purposes: Set[int] = frozenset(), interest: Set[int] = frozenset(), consented: Set[int] = frozenset(),
    interested: Set[int] = frozenset(), disclosed: Set[int] | None = frozenset(), by_range: bool = False,
    restricted: Sequence[tuple[int, int, Set[int]]] = (), at_ms: int = WRITTEN_MS, version: int = 2,
) -> str:
    letters = bits(4, 6) + bits(13, 6)
    core = (bits(version, 6) + bits(at_ms // 100, 36) * 2 + bits(27, 12) + bits(3, 12) + bits(1, 6) + letters
            + bits(15, 12) + bits(5, 6) + "10" + field({1}, 12) + field(purposes, 24) + field(interest, 24) + "0"
            + letters + vendors(consented, by_range) + vendors(interested, by_range))
    core += bits(len(restricted), 12)
    core += "".join(bits(purpose, 6) + bits(kind, 2) + ranges(numbers) for purpose, kind, numbers in restricted)
    text = text_of(core)
    return text if disclosed is None else f"{text}.{text_of('001' + vendors(disclosed, by_range))}"


NUMBERS = st.sets(st.integers(1, 24))
VENDORS = st.sets(st.integers(1, 300), max_size=30)
RESTRICTED = st.lists(st.tuples(st.integers(1, 11), st.integers(0, 2), VENDORS), max_size=4)


@given(NUMBERS, NUMBERS, VENDORS, VENDORS, VENDORS, st.booleans(), RESTRICTED)
def test_what_is_written_is_read(
    purposes: Set[int], interest: Set[int], consented: Set[int], interested: Set[int], disclosed: Set[int],
    by_range: bool, restricted: list[tuple[int, int, Set[int]]],
) -> None:
    said = decode(encode(purposes=purposes, interest=interest, consented=consented, interested=interested,
                         disclosed=disclosed, by_range=by_range, restricted=restricted))
    assert (said.purposes, said.purposes_by_interest) == (purposes, interest)
    assert (said.vendors, said.vendors_by_interest, said.disclosed) == (consented, interested, disclosed)
    assert (said.created_ms, said.cmp_id, said.cmp_version, said.vendor_list, said.policy) == (WRITTEN_MS, 27, 3, 15, 5)
    assert (said.language, said.country, said.service_specific) == ("EN", "EN", True) and said.special_features == {1}
    for purpose, kind, numbers in restricted:
        assert all((said.restricted(purpose, number) or 0) <= kind for number in numbers)


def test_a_published_string_says_what_its_publisher_says() -> None:
    said = decode(EXAMPLE)
    assert (said.created_ms, said.updated_ms, said.cmp_id, said.language) == (WRITTEN_MS, WRITTEN_MS, 27, "EN")
    assert (said.vendor_list, said.policy) == (15, 2) and said.purposes == {1, 2, 3} and not said.purposes_by_interest
    assert said.vendors == said.vendors_by_interest == {2, 6, 8} <= said.disclosed


@pytest.mark.parametrize(("text", "said"), [
    ("", "is empty"),
    (EXAMPLE.partition(".")[0], "has no segment of disclosed vendors, which TCF 2.3 demands"),
    (encode(version=1), "is a string of version 1: only version 2"),
    (encode(version=3), "is a string of version 3"),
    ("CO vFyGB", "is not base64url"),
    (EXAMPLE + "." + text_of("111" + "0" * 61), "has a segment of kind 7, which TCF 2.3 does not know"),
    ("A" * 100_001, "at most 100000"),
])
def test_a_string_that_cannot_be_used_is_refused_saying_why(text: str, said: str) -> None:
    with pytest.raises(TcfError) as refused:
        decode(text)
    assert said in str(refused.value)


@given(st.data())
def test_a_string_cut_off_anywhere_is_refused_or_reads_no_more(data: st.DataObject) -> None:
    whole = encode(purposes={1, 2}, consented={8, 20}, disclosed={8, 20}, by_range=True, restricted=[(2, 0, {8})])
    cut = whole[: data.draw(st.integers(0, len(whole) - 2))]
    with pytest.raises(TcfError):
        decode(cut)


@given(st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.", max_size=120))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        decode("C" + text)
    except TcfError as error:
        assert str(error)


def may(text: str, bases: list[str], after_ms: int = 0) -> dict[str, bool]:
    """What is lawful `after_ms` after the string was written, where only it was said."""
    purposes = {name: {"bases": bases} for name in ("personalization", "marketing")}
    policy = made({"consent": {"purposes": purposes, "tcf": TCF}}).policy
    assert policy.tcf is not None
    now_ms = WRITTEN_MS + after_ms
    held = answers.recorded({}, of_tc_string(text, policy.tcf, policy.purposes, now_ms), policy.purposes, now_ms)
    return {name: permission.given(held, policy.purposes[name], "web", now_ms) for name in purposes}


def test_a_purpose_needs_the_vendor_and_each_of_the_frameworks_purposes() -> None:
    def asked(**said: Any) -> dict[str, bool]:
        return may(encode(disclosed={8}, **said), ["consent"])

    assert asked(purposes={1, 3}, consented={8}) == {"personalization": True, "marketing": False}
    assert asked(purposes={1, 2, 3, 4}, consented={8}) == {"personalization": True, "marketing": True}
    assert asked(purposes={1, 2, 3, 4}, consented={7}) == {"personalization": False, "marketing": False}
    restricted = asked(purposes={1, 2, 3, 4}, consented={8}, restricted=[(3, 0, {8}), (4, 0, {9}), (2, 1, {8})])
    assert restricted == {"personalization": False, "marketing": True}


def test_a_legitimate_interest_counts_where_the_policy_permits_it_and_the_framework_does() -> None:
    text = encode(interest={2, 7, 1, 4}, interested={8}, disclosed={8})
    assert may(text, ["legitimate_interest"]) == {"personalization": False, "marketing": False}
    policy = made({"consent": {"purposes": {"marketing": {"bases": ["legitimate_interest"]}},
                               "tcf": {"vendor": 8, "purposes": {"marketing": [2, 7]}}}}).policy
    assert policy.tcf is not None
    for barred, lawful in (([], True), ([(7, 1, {8})], False), ([(7, 2, {8})], True)):
        text = encode(interest={2, 7}, interested={8}, disclosed={8}, restricted=barred)
        held = answers.recorded({}, of_tc_string(text, policy.tcf, policy.purposes, WRITTEN_MS), {}, WRITTEN_MS)
        assert permission.given(held, policy.purposes["marketing"], "web", WRITTEN_MS) is lawful
        # The next string no longer carries it: it ends, and is no objection for ever.
        later_ms = WRITTEN_MS + 100
        gone = of_tc_string(encode(disclosed={8}, at_ms=later_ms), policy.tcf, policy.purposes, later_ms)
        held = answers.recorded(held, gone, {}, later_ms)
        assert not permission.given(held, policy.purposes["marketing"], "web", later_ms)
        assert {one.basis for one in held.values()} == {Basis.LEGITIMATE_INTEREST}


def test_a_string_ages_and_a_newer_one_takes_back() -> None:
    text = encode(purposes={1, 3}, consented={8}, disclosed={8})
    assert may(text, ["consent"], 394 * DAY_MS)["personalization"]
    assert not may(text, ["consent"], 395 * DAY_MS)["personalization"]


def test_a_string_that_was_not_about_us_says_nothing() -> None:
    with pytest.raises(TcfError, match="vendor 8 is not among the vendors disclosed"):
        may(encode(purposes={1, 3}, consented={8}, disclosed={9}), ["consent"])
