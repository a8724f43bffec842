"""How values are shown: money, numbers, percent and dates as a locale writes them. The locales are Babel's (CLDR)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from math import isfinite
from typing import Any, Final

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_datetime
from babel.numbers import format_currency, format_decimal, format_percent, is_currency

#: Where neither the call nor the release names one.
LOCALE: Final = "en"
_LENGTHS: Final = ("short", "medium", "long", "full")


@dataclass(frozen=True, slots=True)
class Format:
    """One format: what it shows, its own first argument ("" for none), and how."""

    of: frozenset[str]
    argument: str
    show: Callable[[Any, str, Locale], str]
    #: Whether an argument is one of those that there are.
    allows: Callable[[str], bool]


@lru_cache(maxsize=512)
def locale_of(name: str) -> Locale | None:
    """The locale of `de`, `de_DE` or `de-DE`; None where there is none of that name."""
    try:
        return Locale.parse(name.replace("-", "_")) if 2 <= len(name) <= 32 else None
    except (UnknownLocaleError, ValueError, TypeError):
        return None


def _decimal(value: float | int) -> Decimal:
    """By its shortest spelling: 19.99 * 0.8 is shown as 15.99, not as what binary makes of it."""
    if not isfinite(value):
        raise ValueError("not a finite number")
    return Decimal(repr(value))


def _money(value: Any, currency: str, locale: Locale) -> str:
    return format_currency(_decimal(value), currency, locale=locale)


def _number(value: Any, digits: str, locale: Locale) -> str:
    pattern = None if not digits else "#,##0" + ("." + "0" * int(digits) if int(digits) else "")
    return format_decimal(_decimal(value), format=pattern, locale=locale)


def _percent(value: Any, digits: str, locale: Locale) -> str:
    del digits
    return format_percent(_decimal(value), locale=locale)


def _date(value: Any, length: str, locale: Locale) -> str:
    return format_date(value, format=length or "medium", locale=locale)


def _datetime(value: Any, length: str, locale: Locale) -> str:
    return format_datetime(value, format=length or "medium", locale=locale)


_NUMBERS: Final = frozenset(("int", "double"))
_TIMES: Final = frozenset(("timestamp",))
_DAYS: Final = frozenset(("timestamp", "date"))

FORMATS: Final[Mapping[str, Format]] = {
    "money": Format(_NUMBERS, "a currency as 'EUR'", _money, is_currency),
    "number": Format(_NUMBERS, "how many decimals, as '2'", _number, lambda text: text in {"", *"0123456789"}),
    "percent": Format(_NUMBERS, "", _percent, lambda text: not text),
    "date": Format(_DAYS, "short, medium, long or full", _date, lambda text: text in ("", *_LENGTHS)),
    "datetime": Format(_TIMES, "short, medium, long or full", _datetime, lambda text: text in ("", *_LENGTHS)),
}

