"""Who a record is about: identifiers normalised by type, then hashed with the tenant's key.

The only place where raw identifiers are looked at. What leaves it is a keyed hash; errors never repeat the value.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Final

import idna
import phonenumbers

from pipeline.core.identity.identity_rules import ANONYMOUS_ID as ANONYMOUS_ID
from pipeline.core.identity.identity_rules import DEFAULT, DEVICE, EMAIL, IdentityRules
from pipeline.core.identity.identity_rules import PHONE as PHONE
from pipeline.core.identity.identity_rules import TYPES as TYPES
from pipeline.core.identity.identity_rules import USER_ID as USER_ID
from pipeline.core.keys import beside
from pipeline.core.model.records import Identifier

VALUE_CHARS_MAX: Final = 256

#: 128 bits: no two subjects of an installation meet by chance.
HASH_HEX_DIGITS: Final = 32

_BY_SQUEEZED: Final = {name.replace("_", ""): name for name in TYPES} | {
    "deviceid": DEVICE, "emailaddress": EMAIL, "phonenumber": PHONE, "anonymous": ANONYMOUS_ID, "user": USER_ID,
    "cookieid": "cookie",
}

#: What broken integrations send in place of an identifier; taken for one, it would join thousands of people.
_BLOCKED: Final = frozenset({
    "-1", "null", "(null)", "nil", "none", "undefined", "nan", "anonymous", "unknown", "n/a", "guest", "true", "false",
    "[object object]", "not set", "not_set", "notset", "not available", "no id", "no_id", "na", "n.a.", "-", "--", "?",
    "user_id", "userid", "user-id", "user id", "uid", "id", "anonymous_id", "anonymousid", "visitor_id",
    "email", "e-mail", "phone", "device_id", "deviceid", "customer_id", "string", "void", "empty", "default",
    "placeholder", "todo", "infinity", "+infinity", "-infinity", "inf", "+inf", "-inf", "-nan", "#n/a", "#nv", "#ref!",
    "#name?", "#value!", "#getting_data", "%s", "%d", '""', "''", '"null"',
})
#: Words of forms and tests that stand for anybody. Not in an address: test@example.com may be a tester's.
_ANYBODY: Final = frozenset({
    "user", "visitor", "customer", "client", "member", "test", "tester", "testing", "testuser", "demo", "dummy",
    "sample", "example", "foo", "bar", "foobar", "qwerty", "asdf", "object", "function", "array", "class", "symbol",
    "promise",
})
#: The same hashed by who hashed what they did not have.
_HASHED: Final = frozenset(
    hashlib.new(name, word.encode()).hexdigest() for name in ("md5", "sha1", "sha256", "sha512")
    for one in ("", " ", "0", *_BLOCKED, *_ANYBODY) for word in (one, one.upper(), one.capitalize())
)
#: Zeros, also in other writings of a number.
_ZEROS: Final = re.compile(r"[0\-_.\s]*|[+-]?0x0+|[+-]?0[.,]?0*e[+-]?\d+", re.IGNORECASE)
#: Somebody's name for what is to be filled in, and a row of one letter that stands for it.
_TO_FILL_IN: Final = re.compile(
    r"(?:your|insert|enter)[\s_-]+(?:[a-z]+[\s_-]+){0,4}(?:id|uid|uuid|guid|userid|user|name|email|phone|value|here)"
    r"|your(?:user)?id|x{2,32}|x{1,12}(?:[-_.\s]x{1,12}){1,8}", re.IGNORECASE)
#: Code where its result should be: a call without arguments or of a function that makes ids, a function's text, the
#: name of a type or an object's address.
_CODE: Final = re.compile(
    r"[a-z_$][\w.$]*\(\)|(?:sha\d+|md5|hash|hex|uuid|guid|lower|upper|trim|concat|get\w*)\(.*\)|function\s*\w*\(.*"
    r"|\(?\w*\)?\s*=>.*|(?:system|java|javax|kotlin|org|com)(?:\.\w+)*\.(?:object|string|guid|uuid|int32|int64|nullable\S*)"
    r"(?:@[0-9a-f]+)?|\w+(?:\.\w+)+@[0-9a-f]{5,8}", re.IGNORECASE)
#: A day that is the first there is to a computer: a date that was never set.
_FIRST_DAY: Final = re.compile(r"(?:1970|0001)-01-01(?:[T ]00:00(?::00(?:\.0+)?)?\s?(?:Z|[+-]00:?00)?)?", re.IGNORECASE)
#: A GUID of one digit or letter alone, and the ones that documentation shows.
_SHOWN_GUID: Final = re.compile(
    r"([0-9a-f])\1{7}(?:-\1{4}){3}-\1{12}|12345678-1234-1234-1234-1234567890(?:12|ab)|123e4567-e89b-12d3-a456-426614174000",
    re.IGNORECASE)
#: A whole number as a spreadsheet or a data frame writes it out.
_DECIMAL: Final = re.compile(r"[+-]?\d+[.,]0+")
#: A template that nobody filled in, a language's way to print nothing, a report's word for it.
_PLACEHOLDER: Final = re.compile(
    r"(\{.*\}|[$#@]\{.*\}|[$#@]?\[.*\]|%+[^%]*%+|<.*>|\(.*\)|\*\|.*\|\*|__.*__|(@@|##|\|\||!!|\|).+\2|~[A-Za-z_ ]+~"
    r"|\$\d+|\$[A-Za-z_].*|:[A-Za-z_]+|optional\(.*\)|some\(.*\))",
    re.IGNORECASE)
#: A format that nobody filled in (`%s`, `%1$d`, `%(name)s`), and what a spreadsheet shows in place of a value: an error
#: (`#REF!`), a column that is too narrow, a number of which it has lost the digits (`1.5E+12`).
_UNFORMATTED: Final = re.compile(
    r"%(?:\d+\$|\([^()]*\))?[-+ #0-9.*]*(?:hh?|ll?|[qjztL])?[a-zA-Z@]"
    r"|\#[^\W\d_][\w/]*[!?]|\#{2,}|[+-]?\d(?:[.,]\d+)?e\+\d{1,3}|[+-]?\d[.,]\d+e-?\d{1,3}",
    re.IGNORECASE)
#: The largest GUID, or any part of it, as the nil one is of zeros.
_ALL_F: Final = re.compile(r"\{?f(?:[-_.\s]?f){7,}\}?", re.IGNORECASE)
#: What an identifier may stand in: a device's id in braces, a word in quotes too.
_BRACES: Final = "{}" + "".join(char for char in map(chr, range(0x3001)) if char.isspace())
_WRAPPING: Final = _BRACES + "\"'`\u00b4\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u00ab\u00bb"
#: What stands before and after the @ of an address that is none, beside the words above.
_NO_MAIL: Final = frozenset({"noemail", "nomail", "noaddress", "test", "nobody", "noone", "xxx"})
_GUID: Final = re.compile(r"\{[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\}")
_PHONE: Final = re.compile(r"\+?[0-9][0-9 ()./\u2010-\u2015-]{3,30}|\([0-9][0-9 ()./\u2010-\u2015-]{3,30}")
_NO_PHONE: Final = re.compile(r".*\.0|\d{4}[-./ ]\d\d?[-./ ]\d\d?|\d\d?[-./ ]\d\d?[-./ ]\d{4}")
#: Signs that phone numbers are written with, and neither dates without theirs nor seconds.
_PHONE_SIGN: Final = re.compile(r"[ ()/\u2010-\u2015-]")
_MONTH_DAY: Final = r"(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"
_DATE_DIGITS: Final = re.compile(
    rf"(?:19|20)\d\d{_MONTH_DAY}|(?:0[1-9]|[12]\d|3[01])(?:0[1-9]|1[0-2])(?:19|20)\d\d|{_MONTH_DAY}(?:19|20)\d\d")
#: Epoch seconds of the years 2001 to 2100; and of 2001 to 2033, which no number of a region without a leading zero
#: begins as.
_SECONDS: Final = range(978_307_200, 4_133_980_800)
_SECONDS_NEAR: Final = range(1_000_000_000, 2_000_000_000)
_TENANT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
#: A part of a domain: no literal address, no dash at an end.
_LABEL: Final = r"[^@\s.\[\]-](?:[^@\s.\[\]]*[^@\s.\[\]-])?"
#: Dots stand between what a local part consists of (RFC 5322's dot-atom), and a link is no address.
_EMAIL: Final = re.compile(rf"(?!mailto:)(?!\.)(?![^@]*\.\.)[^@\s]+(?<!\.)@{_LABEL}(?:\.{_LABEL})+", re.IGNORECASE)


#: The keys of the hashes: the first one hashes, those after it are earlier ones under which something may be kept.
TenantKeys = tuple[bytes, ...]


class IdentifierError(ValueError):
    """The identifier cannot stand for one subject; the text says what to send instead and does not repeat the value."""


def type_of(name: str) -> str:
    """The identifier type meant by a name, in whatever case or spelling (`userId`, `User-Id`, `user_id`).

    Raises IdentifierError for an unknown one.
    """
    squeezed = re.sub(r"[\s_\-]", "", name).lower()
    found = _BY_SQUEEZED.get(squeezed)
    if found is None:
        near = get_close_matches(squeezed, _BY_SQUEEZED, n=1)
        hint = f"did you mean {_BY_SQUEEZED[near[0]]}? " if near else ""
        raise IdentifierError(f"unknown identifier type: {hint}known are {', '.join(TYPES)}")
    return found


def normalised(type_: str, value: str, rules: IdentityRules = DEFAULT) -> str:
    """The one spelling of an identifier of a type from `TYPES`.

    Raises IdentifierError for a blocked, malformed or overlong value.
    """
    text = unicodedata.normalize("NFKC", value).strip()
    lowered = text.lower()
    if not text:
        raise IdentifierError("the value is empty: send the identifier, or leave the field out")
    _require_somebody(type_, text)
    if _DECIMAL.fullmatch(text) and type_ not in (PHONE, EMAIL):
        raise IdentifierError(
            "the value is a whole number with decimals, as a spreadsheet or a data frame writes it: send it without "
            "them, and keep the column as text")
    if any(unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in text):
        raise IdentifierError(
            "the value has control or invisible characters, or half a surrogate pair: send plain text")
    text = _phone(text, rules.phone_region) if type_ == PHONE else _NORMALISERS.get(type_, _as_it_is)(text)
    # What is left of it may be nobody's: "{}", "{null}".
    _require_somebody(type_, text)
    if len(text) > VALUE_CHARS_MAX:
        raise IdentifierError(f"the value is longer than {VALUE_CHARS_MAX} characters: send the identifier alone")
    rule = rules.of(type_)
    if text.lower() in rule.blocked or lowered in rule.blocked or any(one.fullmatch(text) for one in rule.patterns):
        raise IdentifierError(
            f"the policy blocks this value as a {type_}: leave the field out (identity.types.{type_}.blocked)"
        )
    return text


def _require_somebody(type_: str, text: str) -> None:
    """Raises IdentifierError for a value that many would have, and would become one for it."""
    bare = text.strip(_WRAPPING)
    if not bare or _stands_for_nobody(text, type_) or (bare != text and _stands_for_nobody(bare, type_)):
        raise IdentifierError(
            "this value stands for nobody (a zero, a placeholder, null, anonymous …): leave the field out until the "
            "identifier is known"
        )


def _stands_for_nobody(text: str, type_: str) -> bool:
    if _ZEROS.fullmatch(text) or _ALL_F.fullmatch(text) or _UNFORMATTED.fullmatch(text):
        return True
    if _PLACEHOLDER.fullmatch(text) and not (type_ == DEVICE and _GUID.fullmatch(text)):
        return True
    if any(one.fullmatch(text) for one in (_TO_FILL_IN, _CODE, _FIRST_DAY, _SHOWN_GUID)):
        return True
    lowered = text.lower()
    parts = re.split(r"[\s_\-/|,;:.]+", lowered)
    if lowered in _ANYBODY or (len(parts) > 1 and all(one in _BLOCKED and one.isalpha() for one in parts)):
        return True
    local, at, domain = lowered.partition("@")
    name = domain.rpartition(".")[0]
    return lowered in _BLOCKED or lowered in _HASHED or (
        bool(at and name) and _no_mail(local) and _no_mail(name))


def _no_mail(part: str) -> bool:
    """Whether a part of an e-mail address says that there is none."""
    squeezed = re.sub(r"[-_.]", "", part)
    return squeezed in _BLOCKED or squeezed in _NO_MAIL


def tenant_name(name: str) -> str:
    """The tenant's name as it stands in keys. Raises IdentifierError for one that could not."""
    if not _TENANT.fullmatch(name):
        raise IdentifierError("a tenant is 1 to 63 letters, digits, dots, dashes or underscores, the first no sign")
    return name


def identifier(
    tenant_keys: TenantKeys, tenant: str, type_: str, value: str, rules: IdentityRules = DEFAULT
) -> Identifier:
    """The hashed identifier. The same person has unrelated hashes in two tenants. Raises IdentifierError."""
    known, name = type_of(type_), tenant_name(tenant)
    text = normalised(known, value, rules)
    return Identifier(known, _hashed(tenant_keys[0], name, known, text),
                      [_hashed(key, name, known, text) for key in tenant_keys[1:]])


def subject_key(tenant_keys: TenantKeys, tenant: str, type_: str, value: str, rules: IdentityRules = DEFAULT) -> str:
    """`tenant/hash`: the key of every record about this subject. Raises IdentifierError."""
    return key_of(tenant, identifier(tenant_keys, tenant, type_, value, rules))


def key_of(tenant: str, known: Identifier) -> str:
    """The subject key of an identifier that is hashed already."""
    return f"{tenant}/{known.hash}"


def keys_of(tenant: str, known: Identifier) -> list[str]:
    """Its subject key under each of the tenant's keys, the newest first."""
    return [f"{tenant}/{name}" for name in (known.hash, *known.earlier)]


def oldest_key(subject: str, earlier: Sequence[str]) -> str:
    """The subject's key under the oldest tenant key listed: the same while bridges still list different ones."""
    return beside(subject, earlier[-1]) if earlier else subject


def _hashed(tenant_key: bytes, tenant: str, type_: str, text: str) -> str:
    # Tenant, type and value hold no control characters, so the separator keeps the parts apart.
    said = "\x1f".join((tenant, type_, text))
    return hmac.digest(tenant_key, said.encode(), "sha256").hex()[:HASH_HEX_DIGITS]


def _email(text: str) -> str:
    if not _EMAIL.fullmatch(text):
        raise IdentifierError("this is no e-mail address: send name@domain.tld")
    local, _, domain = _lowered(text).rpartition("@")
    if not domain.isascii() or domain.startswith("xn--") or ".xn--" in domain:
        try:
            # One spelling for both that an internationalised domain has (UTS 46).
            domain = idna.encode(idna.decode(domain, uts46=True), uts46=True).decode()
        except (idna.IDNAError, UnicodeError):
            raise IdentifierError("this e-mail address has no domain that there can be: send name@domain.tld") from None
    return f"{local}@{domain}"


def _phone(text: str, region: str | None) -> str:
    if region is not None and _reads_as_time(text, region):
        code = phonenumbers.country_code_for_region(region)
        raise IdentifierError(
            f"these digits read as a date or a time: send a phone number with its country's code, as +{code}…")
    number = _valid_phone(text, region)
    if number is None:
        where = f" or as one in {region}" if region else ", or set identity.phone_region in the policy"
        raise IdentifierError(
            f"this is no phone number that there can be: send it with the country's code, as +14155550100{where}, "
            "without letters or an extension"
        )
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _reads_as_time(text: str, region: str) -> bool:
    """Whether digits with nothing that only a phone number has may be a date, or epoch seconds or milliseconds."""
    zero_first = phonenumbers.ndd_prefix_for_region(region, True) == "0"
    if not (text.isascii() and text.replace(".", "").isdigit()) or _PHONE_SIGN.search(text):
        return False
    digits = text.replace(".", "")
    if zero_first and digits.startswith("0"):
        return False
    number = int(digits)
    seconds = _SECONDS if zero_first else _SECONDS_NEAR
    return (_DATE_DIGITS.fullmatch(digits) is not None or (len(digits) < 11 and number in seconds)
            or (len(digits) < 14 and number // 1_000 in _SECONDS))


def _valid_phone(text: str, region: str | None) -> phonenumbers.PhoneNumber | None:
    """The number: valid, not merely possible. Nothing is made of letters, dates, decimals or parts left over."""
    if not _PHONE.fullmatch(text) or _NO_PHONE.fullmatch(text):
        return None
    if text.startswith(("+", "00")):
        return _parsed(f"+{text.lstrip('+').removeprefix('00')}" if text.startswith("00") else text, None)
    if region is None:
        return None
    national = _parsed(text, region)
    code = str(phonenumbers.country_code_for_region(region))
    digits = re.sub(r"\D", "", text)
    trunk = phonenumbers.ndd_prefix_for_region(region, True)
    if trunk and digits.startswith(trunk):
        return national
    # Without the sign before the country's code: as it begins with that, it is no national one without its zero.
    return (_parsed(f"+{digits}", None) if digits.startswith(code) else None) or national


def _parsed(text: str, region: str | None) -> phonenumbers.PhoneNumber | None:
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None
    return number if phonenumbers.is_valid_number(number) and number.extension is None else None


def _device(text: str) -> str:
    return _lowered(text.strip(_BRACES))


def _lowered(text: str) -> str:
    # Lower-casing can take a letter apart again.
    return unicodedata.normalize("NFKC", text.lower())


def _as_it_is(text: str) -> str:
    return text


#: Every other type keeps its case: user-17 and User-17 may be two people.
_NORMALISERS: Final[dict[str, Callable[[str], str]]] = {EMAIL: _email, DEVICE: _device}
