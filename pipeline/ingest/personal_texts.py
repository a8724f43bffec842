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
#: From its first character and never tried again from another: linear however long a text is.
_LOCAL: Final = rf"(\"[^\"@]{{1,64}}\"|(?<!{_PART}){_PART}++)"
#: With a domain; with a host of one name (three letters at least: `logo@2x` and `a@b` are none) or a literal address.
_EMAIL: Final = re.compile(
    rf"{_LOCAL}(?:(?:@+|\s{{1,2}}@+\s{{1,2}}){_PART}{{1,253}}\.[^\W\d_][\w-]{{1,62}}"
    r"|@+(?:\[[0-9A-Za-z:.]{2,45}\]|[^\W\d_][\w-]{2,62}))")
#: How the sign of an address is written where it must not be seen.
_AT: Final = re.compile(r"\s?[(\[{]\s?(?:at|@)\s?[)\]}]\s?|=40(?=[\w-]+(?:\.[\w-]+)*\.[A-Za-z]{2})", re.IGNORECASE)
_DOT: Final = re.compile(r"\s?[(\[{]\s?(?:dot|punkt|point|punto)\s?[)\]}]\s?", re.IGNORECASE)
#: A character by its number, as JavaScript and others write it.
_ESCAPE: Final = re.compile(r"(?:%u|\\u)([0-9a-fA-F]{4})|\\x([0-9a-fA-F]{2})")
#: With the country's code, or with an area code set apart: digits alone are ids.
_PHONE: Final = re.compile(
    r"(?<![\w.+-])(?:\+|00|tel:\+?)[1-9][\d ()./-]{6,20}\d|(?<![\w.+-])\(?0\d{2,5}\)?[ /-]\d[\d .-]{4,12}\d(?![\w-])")
#: But for the mobile numbers of some countries, with their code and no sign before it.
_MOBILE: Final = re.compile(
    r"(?<![\w.+-])(?:49(?:15\d|16[023]|17\d)\d{7,8}|436[5-9]\d{7,9}|417[4-9]\d{7}|33[67]\d{8}|447\d{9}|393[1-9]\d{7,8}"
    r"|34[67]\d{8}|316\d{8}|324[5-9]\d{7}|48[5-8]\d{8})(?![\w-]|\.\d)")
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
#: With its check digit right (ISO 7812): in groups, as they are printed; in a row where it begins as those of a large
#: scheme do and is as long (Visa, Mastercard, American Express, Discover). Any other digits in a row are an id.
_CARD: Final = re.compile(
    r"(?<![\w-])(?:\d{4}([ -])(?:\d{4}\1\d{4}\1\d{1,7}|\d{6}\1\d{4,5})|4\d{15}|5[1-5]\d{14}"
    r"|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}|6(?:011|5\d\d)\d{12})(?![\w-])")


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
    if any(not _is_ean(one.group()) for one in _MOBILE.finditer(plain)):
        return "a phone number"
    return "a phone number" if any(not _DATE.fullmatch(one.group()) for one in _PHONE.finditer(plain)) else ""


def masked(text: str) -> str:
    """The text with what is personal left out; as it is where nothing is."""
    if not found_in(text):
        return text
    plain = _EMAIL.sub("[email]", _plain(text))
    plain = _CARD.sub(lambda one: "[card]" if _is_card(one.group()) else one.group(), _without_ibans(plain))
    plain = _MOBILE.sub(lambda one: one.group() if _is_ean(one.group()) else "[phone]", plain)
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


def _is_ean(digits: str) -> bool:
    """Whether they are an article's number (GTIN of 12 to 14 digits), by the check digit."""
    weighed = sum(int(one) * (3 if place % 2 else 1) for place, one in enumerate(reversed(digits)))
    return 12 <= len(digits) <= 14 and weighed % 10 == 0


def _plain(text: str) -> str:
    plain = unicodedata.normalize("NFKC", text)
    for _ in range(_DECODED_MAX):
        if "%" not in plain and "\\" not in plain:
            break
        plain = _ESCAPE.sub(lambda one: chr(int(one[1] or one[2], 16)), plain)
        plain = unicodedata.normalize("NFKC", unquote(plain))
    plain = unescape(plain) if "&" in plain else plain
    if "=40" in plain or any(sign in plain for sign in "([{"):
        found = _AT.sub("@", plain)
        # What may be the end of a sentence, or an abbreviation, is as it was where it makes no address.
        plain = _DOT.sub(".", found) if found != plain else plain
    return plain
