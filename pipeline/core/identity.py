"""Who a record is about: identifiers normalised by type, then hashed with the tenant's key.

The only place where raw identifiers are looked at. What leaves it is a keyed hash; errors never repeat the value.
"""

from __future__ import annotations

import hmac
import re
import unicodedata
from collections.abc import Callable
from difflib import get_close_matches
from typing import Final

from pipeline.core.model import Identifier

USER_ID: Final = "user_id"
ANONYMOUS_ID: Final = "anonymous_id"
EMAIL: Final = "email"
PHONE: Final = "phone"
DEVICE: Final = "device"

#: A closed list: a misspelt type would silently be a second subject, with caps of its own.
TYPES: Final = (USER_ID, ANONYMOUS_ID, EMAIL, PHONE, DEVICE, "cookie", "crm_id", "loyalty_id", "external_id")

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
    "[object object]",
})
_ZEROS: Final = re.compile(r"[0\-_.\s]*")
_PLACEHOLDER: Final = re.compile(r"(\{\{.*\}\}|\$\{.*\}|%%.*%%|<.*>|\[\[.*\]\])")
_TENANT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")
_PHONE: Final = re.compile(r"\+[1-9][0-9]{6,14}")
_PHONE_FILLER: Final = re.compile(r"\(0\)|[\s\-.()/\u2010-\u2015]")


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


def normalised(type_: str, value: str) -> str:
    """The one spelling of an identifier of a type from `TYPES`.

    Raises IdentifierError for a blocked, malformed or overlong value.
    """
    text = unicodedata.normalize("NFKC", value).strip()
    lowered = text.lower()
    if not text:
        raise IdentifierError("the value is empty: send the identifier, or leave the field out")
    if _ZEROS.fullmatch(text) or lowered in _BLOCKED or _PLACEHOLDER.fullmatch(text):
        raise IdentifierError(
            "this value stands for nobody (a zero, a placeholder, null, anonymous …): leave the field out until the "
            "identifier is known"
        )
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in text):
        raise IdentifierError("the value has control characters or half a surrogate pair: send plain text")
    text = _NORMALISERS.get(type_, _as_it_is)(text)
    if len(text) > VALUE_CHARS_MAX:
        raise IdentifierError(f"the value is longer than {VALUE_CHARS_MAX} characters: send the identifier alone")
    return text


def tenant_name(name: str) -> str:
    """The tenant's name as it stands in keys. Raises IdentifierError for one that could not."""
    if not _TENANT.fullmatch(name):
        raise IdentifierError("a tenant is 1 to 63 letters, digits, dots, dashes or underscores, the first no sign")
    return name


def identifier(tenant_key: bytes, tenant: str, type_: str, value: str) -> Identifier:
    """The hashed identifier. The same person has unrelated hashes in two tenants. Raises IdentifierError."""
    return _hashed(tenant_key, tenant_name(tenant), type_of(type_), value)


def subject_key(tenant_key: bytes, tenant: str, type_: str, value: str) -> str:
    """`tenant/hash`: the key of every record about this subject. Raises IdentifierError."""
    return key_of(tenant, identifier(tenant_key, tenant, type_, value))


def key_of(tenant: str, known: Identifier) -> str:
    """The subject key of an identifier that is hashed already."""
    return f"{tenant}/{known.hash}"


def _hashed(tenant_key: bytes, tenant: str, type_: str, value: str) -> Identifier:
    # Tenant, type and value hold no control characters, so the separator keeps the parts apart.
    said = "\x1f".join((tenant, type_, normalised(type_, value)))
    return Identifier(type_, hmac.digest(tenant_key, said.encode(), "sha256").hex()[:HASH_HEX_DIGITS])


def _email(text: str) -> str:
    if not _EMAIL.fullmatch(text):
        raise IdentifierError("this is no e-mail address: send name@domain.tld")
    return _lowered(text)


def _phone(text: str) -> str:
    digits = _PHONE_FILLER.sub("", text)
    if digits.startswith("00"):
        digits = "+" + digits[2:]
    if not _PHONE.fullmatch(digits):
        raise IdentifierError("this is no international phone number: send it with the country's code, as +14155550100")
    return digits


def _device(text: str) -> str:
    return _lowered(text.strip("{}"))


def _lowered(text: str) -> str:
    # Lower-casing can take a letter apart again.
    return unicodedata.normalize("NFKC", text.lower())


def _as_it_is(text: str) -> str:
    return text


#: Every other type keeps its case: user-17 and User-17 may be two people.
_NORMALISERS: Final[dict[str, Callable[[str], str]]] = {EMAIL: _email, PHONE: _phone, DEVICE: _device}
