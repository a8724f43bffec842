"""Identifiers: one spelling per person, nobody's placeholder taken for somebody, and nothing raw in what comes out."""

from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.core.identity.identifiers import (
    TYPES,
    IdentifierError,
    identifier,
    normalised,
    subject_key,
    tenant_name,
    type_of,
)

from .build import made

KEY = (b"tenant key",)


@pytest.mark.parametrize(("type_", "spellings"), [
    ("email", ["ann@example.com", " Ann@Example.COM ", "ａｎｎ@example.com"]),
    ("phone", ["+14155550100", "+1 (415) 555-0100", "001 415 555 0100", "+1.415.555.0100"]),
    ("phone", ["+442079460018", "+44 (0)20 7946 0018"]),
    ("device", ["6D92078A-8246-4BA4-AE5B-76104861E7DC", "{6d92078a-8246-4ba4-ae5b-76104861e7dc}"]),
    ("user_id", ["user-17", " user-17 "]),
])
def test_spellings_of_one_identifier_are_one_subject(type_: str, spellings: list[str]) -> None:
    assert len({subject_key(KEY, "shop", type_, value) for value in spellings}) == 1


@pytest.mark.parametrize("type_", ["user_id", "anonymous_id", "crm_id"])
def test_case_tells_other_identifiers_apart(type_: str) -> None:
    assert subject_key(KEY, "shop", type_, "User-17") != subject_key(KEY, "shop", type_, "user-17")


def test_a_hash_depends_on_key_tenant_and_type() -> None:
    hashes = {
        subject_key(key, tenant, type_, "17").partition("/")[2]
        for key in ((b"a",), (b"b",)) for tenant in ("shop", "bank") for type_ in ("user_id", "anonymous_id")
    }
    assert len(hashes) == 8


def test_a_key_is_the_tenant_and_a_truncated_hmac() -> None:
    # Any other value would make every stored profile somebody else's: this one may never change.
    assert subject_key(KEY, "shop", "user_id", "user-17") == "shop/eea88c88b2c4864ab45a522fe213acf8"


@pytest.mark.parametrize("value", [
    "", "  ", "0", "0000", "00000000-0000-0000-0000-000000000000", "-", "---", "-1", "null", "NULL", "None", "nil",
    "undefined", "NaN", "Anonymous", "unknown", "n/a", "(null)", "[object Object]", "true", "{{ user.id }}",
    "${userId}", "%%USER%%", "<user id>",
])
def test_what_stands_for_nobody_is_refused(value: str) -> None:
    with pytest.raises(IdentifierError, match=r"stands for nobody|is empty"):
        subject_key(KEY, "shop", "user_id", value)


@pytest.mark.parametrize("value", [
    "@@UID@@", "##uid##", "|UID|", "||uid||", "~id~", "$1", "$12", "YOUR_USER_ID", "your-id-here", "Insert user id",
    "enter your email here", "user", "Customer", "test", "demo", "xxx", "XXXX-XXXX", "undefined undefined", "null-null",
    "undefined/null", "11111111-1111-1111-1111-111111111111", "AAAAAAAA-AAAA-AAAA-AAAA-AAAAAAAAAAAA",
    "{11111111-1111-1111-1111-111111111111}", "123e4567-e89b-12d3-a456-426614174000", "0x0", "0X00", "0e0", "0.0E+00",
    "1970-01-01", "1970-01-01T00:00:00Z", "0001-01-01 00:00:00", "function", "function () { return id }", "() => id",
    "System.Object", "java.lang.Object@1b6d3586", "sha256()", "getUserId()", "md5(email)", "crypto.randomUUID()",
    hashlib.sha256(b"test").hexdigest(),
])
@pytest.mark.parametrize("type_", ["user_id", "anonymous_id", "device", "crm_id", "external_id"])
def test_what_is_to_be_filled_in_or_computed_is_nobody(type_: str, value: str) -> None:
    with pytest.raises(IdentifierError, match="stands for nobody"):
        normalised(type_, value)


@pytest.mark.parametrize("value", [
    "user-1", "test1", "test-user-17", "usher", "tester-ann", "xx7", "xavier", "max", "$", "~ann", "a|b", "|",
    "your-shop-1", "11111111", "11111111-1111-1111-1111-111111111112", "0x1f", "0e1f", "1970-01-02", "1970-01-01-17",
    "functional", "systems.ann", "ann(1)", "sha256", "com.shop.user17", "null-17", "id-user17", "unknown pleasures",
    "entertainment-id", "1.5", "17.01", "1.0.0",
])
def test_what_may_be_somebody_s_id_is_taken(value: str) -> None:
    assert normalised("user_id", value) == value


@pytest.mark.parametrize("value", ["8990378.0", "17,00", "+17.0", "0017.000"])
@pytest.mark.parametrize("type_", ["user_id", "device", "crm_id"])
def test_a_number_that_a_spreadsheet_wrote_out_says_what_to_write(type_: str, value: str) -> None:
    with pytest.raises(IdentifierError, match="whole number with decimals") as caught:
        normalised(type_, value)
    assert value not in str(caught.value)


@pytest.mark.parametrize(("type_", "value", "says"), [
    ("email", "ann", "no e-mail address"),
    ("email", "ann@localhost", "no e-mail address"),
    ("email", "ann@b@example.com", "no e-mail address"),
    ("phone", "415 555 0100", "country's code"),
    ("phone", "+1", "country's code"),
    ("phone", "+0415 555 0100", "country's code"),
    ("phone", "+1415555010012345", "country's code"),
    ("user_id", "x" * 257, "longer than 256"),
    ("user_id", "a\nb", "control or invisible"),
    ("user_id", "a\ud800", "half a surrogate"),
    ("loyalty_ids", "1", "did you mean loyalty_id"),
    ("shoe_size", "44", "known are user_id"),
])
def test_a_wrong_identifier_says_what_to_send_and_not_what_was_sent(type_: str, value: str, says: str) -> None:
    with pytest.raises(IdentifierError, match=re.escape(says)) as caught:
        identifier(KEY, "shop", type_, value)
    assert len(value) < 3 or value not in str(caught.value)


@pytest.mark.parametrize("name", ["userId", "user_id", "User-ID", "USERID", "user id", "user"])
def test_a_type_may_be_spelt_in_any_way(name: str) -> None:
    assert type_of(name) == "user_id"


@pytest.mark.parametrize("tenant", ["", "a/b", "-a", "@readiness", "a" * 64, "ä", "a b"])
def test_a_tenant_that_could_not_stand_in_a_key_is_refused(tenant: str) -> None:
    with pytest.raises(IdentifierError, match="1 to 63 letters"):
        tenant_name(tenant)


@pytest.mark.parametrize("value", [
    "{}", "{ }", "{{}}", "{null}", "{0}", "{ undefined }", "{00000000-0000-0000-0000-000000000000}",
])
def test_what_is_left_of_a_device_without_its_braces_is_somebodys_or_refused(value: str) -> None:
    with pytest.raises(IdentifierError, match="stands for nobody"):
        normalised("device", value)
    assert normalised("device", "{6D92078A-8246-4BA4-AE5B-76104861E7DC}") == "6d92078a-8246-4ba4-ae5b-76104861e7dc"


@example("device", "{}")
@example("device", "{ {a} }")
@given(st.sampled_from(TYPES), st.text(max_size=300))
def test_any_text_is_an_identifier_or_refused_and_normalising_twice_changes_nothing(type_: str, value: str) -> None:
    try:
        once = normalised(type_, value)
    except IdentifierError:
        return
    assert normalised(type_, once) == once
    assert re.fullmatch(r"shop/[0-9a-f]{32}", subject_key(KEY, "shop", type_, value))


RULES = made({"identity": {"phone_region": "DE", "types": {
    "email": {"blocked": ["Test@Example.com", "n/a@x"], "blocked_patterns": [r".+@example\.org", "(foo|bar)@.+"]},
    "phone": {"blocked": ["030 1234567"]}, "user_id": {"blocked": ["Guest-1"]},
}}}).policy.identity


@pytest.mark.parametrize(("type_", "value"), [
    ("email", "test@example.com"), ("email", " TEST@example.com"), ("email", "ann@Example.org"),
    ("email", "FOO@shop.de"),
    ("phone", "+49 30 1234567"), ("phone", "030/1234567"), ("user_id", "guest-1"),
])
def test_a_policy_blocks_values_in_any_spelling_of_their_type(type_: str, value: str) -> None:
    with pytest.raises(IdentifierError, match=f"the policy blocks this value as a {type_}"):
        identifier(KEY, "shop", type_, value, RULES)
    assert identifier(KEY, "shop", type_, value.replace("030", "+4930")), "without the policy it is one"


@pytest.mark.parametrize(("type_", "value"), [
    ("email", "ann@example.orga"), ("email", "afoo@shop.de"), ("phone", "030 12345678"), ("user_id", "guest-10")])
def test_a_policy_blocks_whole_values_only(type_: str, value: str) -> None:
    assert identifier(KEY, "shop", type_, value, RULES)


def test_a_phone_number_without_a_country_is_of_the_policys_region() -> None:
    spellings = ("030 12345678", "+49 (0)30 12345678", "0049 30 12345678", "+493012345678")
    assert {normalised("phone", value, RULES) for value in spellings} == {"+493012345678"}
