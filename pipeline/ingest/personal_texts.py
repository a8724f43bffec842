"""What in a text is personal: e-mail addresses and phone numbers, however they are written.

One filter for every text that goes on, at every endpoint and import.
"""

from __future__ import annotations

import re
import unicodedata
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


def found_in(text: str) -> str:
    """What is personal in a text, in words; "" for nothing."""
    plain = _plain(text)
    if _EMAIL.search(plain):
        return "an e-mail address"
    return "a phone number" if any(not _DATE.fullmatch(one.group()) for one in _PHONE.finditer(plain)) else ""


def masked(text: str) -> str:
    """The text with what is personal left out; as it is where nothing is."""
    if not found_in(text):
        return text
    plain = _EMAIL.sub("[email]", _plain(text))
    return _PHONE.sub("[phone]", plain)


def _plain(text: str) -> str:
    plain = unicodedata.normalize("NFKC", text)
    for _ in range(_DECODED_MAX):
        if "%" not in plain:
            break
        plain = unicodedata.normalize("NFKC", unquote(plain))
    return plain
