"""What in a text is personal: e-mail addresses, phone numbers, bank accounts and cards, however they are written.

One filter for every text that goes on, at every endpoint and import.
"""

from __future__ import annotations

import re
import unicodedata
from html import unescape
from typing import Final
from urllib.parse import unquote

__all__ = ["found_in", "masked"]

#: How often something may be percent-encoded: `%2540` is twice.
_DECODED_MAX: Final = 3

_PART: Final = r"[^\s@,;:<>()\[\]\"'&=?/]"
_EMAIL: Final = re.compile(rf"(\"[^\"@]{{1,64}}\"|{_PART}{{1,64}})@{_PART}{{1,253}}\.[^\W\d_][\w-]{{1,62}}")
#: With the country's code, or with an area code set apart: digits alone are ids.
_PHONE: Final = re.compile(
    r"(?<![\w.+-])(?:\+|00|tel:\+?)[1-9][\d ()./-]{6,20}\d|(?<![\w.+-])\(?0\d{2,5}\)?[ /-]\d[\d -]{4,10}\d(?![\w-])")
_DATE: Final = re.compile(r"00?\d{0,2}[-/. ]\d\d?[-/. ]\d{2,4}")
#: How long a bank account's number is, by its country (the registry of ISO 13616): those of SEPA and a few more.
_IBAN_CHARS: Final = {
    "AD": 24, "AE": 23, "AT": 20, "BE": 16, "BG": 22, "BR": 29, "CH": 21, "CY": 28, "CZ": 24, "DE": 22, "DK": 18,
    "EE": 20, "ES": 24, "FI": 18, "FR": 27, "GB": 22, "GI": 23, "GR": 27, "HR": 21, "HU": 28, "IE": 22, "IL": 23,
    "IS": 26, "IT": 27, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "MC": 27, "MT": 31, "NL": 18, "NO": 15, "PL": 28,
    "PT": 25, "RO": 24, "RS": 22, "SA": 24, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "TR": 26, "UA": 29,
}
#: In capitals, in one word or in groups.
_IBAN_BEGINS: Final = re.compile(rf"(?<![A-Za-z0-9])({'|'.join(_IBAN_CHARS)})\d\d")
_IBAN: Final = {
    country: re.compile(rf"(?:[A-Z0-9] ?){{{chars - 1}}}[A-Z0-9](?![A-Za-z0-9])")
    for country, chars in _IBAN_CHARS.items()
}
#: In groups, as they are printed, and with its check digit right (ISO 7812): sixteen digits in a row are an id.
_CARD: Final = re.compile(r"(?<![\w-])\d{4}([ -])(?:\d{4}\1\d{4}\1\d{1,7}|\d{6}\1\d{4,5})(?![\w-])")


def found_in(text: str) -> str:
    """What is personal in a text, in words; "" for nothing."""
    plain = _plain(text)
    if "@" in plain and _EMAIL.search(plain):
        return "an e-mail address"
    if plain.isalpha():
        return ""
    if _without_ibans(plain) != plain:
        return "a bank account's number"
    if any(_is_card(one.group()) for one in _CARD.finditer(plain)):
        return "a card's number"
    return "a phone number" if any(not _DATE.fullmatch(one.group()) for one in _PHONE.finditer(plain)) else ""


def masked(text: str) -> str:
    """The text with what is personal left out; as it is where nothing is."""
    if not found_in(text):
        return text
    plain = _EMAIL.sub("[email]", _plain(text))
    plain = _CARD.sub(lambda one: "[card]" if _is_card(one.group()) else one.group(), _without_ibans(plain))
    return _PHONE.sub("[phone]", plain)


def _without_ibans(text: str) -> str:
    parts, end = [], 0
    for begin in _IBAN_BEGINS.finditer(text):
        found = _IBAN[begin[1]].match(text, begin.start())
        if found is not None and begin.start() >= end and _is_iban(found.group().replace(" ", "")):
            parts += [text[end : begin.start()], "[account]"]
            end = found.end()
    return "".join((*parts, text[end:])) if parts else text


def _is_iban(text: str) -> bool:
    return int("".join(str(int(one, 36)) for one in text[4:] + text[:4])) % 97 == 1


def _is_card(text: str) -> bool:
    """By the Luhn algorithm."""
    digits = [int(one) for one in reversed(text) if one.isdigit()]
    return sum(digits[::2]) % 10 == -sum(sum(divmod(2 * one, 10)) for one in digits[1::2]) % 10


def _plain(text: str) -> str:
    plain = unicodedata.normalize("NFKC", text)
    for _ in range(_DECODED_MAX):
        if "%" not in plain:
            break
        plain = unicodedata.normalize("NFKC", unquote(plain))
    return unescape(plain) if "&" in plain else plain
