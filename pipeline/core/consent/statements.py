"""What other systems say about consent, as statements about our purposes, by the policy's mapping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.core.consent.answers import TCF_SOURCE
from pipeline.core.consent.tcf import NOT_ALLOWED, REQUIRE_CONSENT, REQUIRE_INTEREST, TcfError, TcString, decode
from pipeline.core.hashing import digest
from pipeline.core.model.terms import Purpose, Tcf
from pipeline.core.model.words import Basis, ConsentGrant

DAY_MS = 86_400_000

#: Purposes that the framework lets nobody pursue on a legitimate interest.
_BY_CONSENT_ONLY = frozenset((1, 3, 4, 5, 6))


def of_category(category: str, categories: Mapping[str, Sequence[str]]) -> list[tuple[str, str | None]]:
    """Our purposes, each with its channel or None for every one, that another system's category stands for; by default
    itself. A channel that is empty stands for none: `letters/` is no way to write `letters`."""
    places = [name.partition("/") for name in categories.get(category, (category,))]
    return [(purpose, channel if slash else None) for purpose, slash, channel in places]


def of_tc_string(text: str, tcf: Tcf, purposes: Mapping[str, Purpose], now_ms: int) -> list[ConsentGrant]:
    """What a TC string says about our purposes. Raises TcfError for one that cannot be used, or is not about us."""
    said = decode(text)
    if tcf.vendor not in said.disclosed:
        raise TcfError(f"vendor {tcf.vendor} is not among the vendors disclosed to the person: the string says nothing "
                       "about you; is consent.tcf.vendor your number, and in the list your platform shows?")
    at_ms = _stated_ms(said.updated_ms, now_ms)
    ends_ms = at_ms + tcf.lasts_ms
    source, proof = f"{TCF_SOURCE}cmp-{said.cmp_id}", f"tcf:{digest(text)}"
    grants = []
    for name, numbers in tcf.purposes.items():
        bases = purposes[name].bases
        if Basis.CONSENT in bases:
            grants.append(ConsentGrant(name, _consented(said, tcf.vendor, numbers), at_ms, None, source, ends_ms,
                                       proof=proof))
        if Basis.LEGITIMATE_INTEREST in bases:
            # A bit that is not set is an objection or no information given: the statement ends, and may come again.
            held = _interest(said, tcf.vendor, numbers)
            grants.append(ConsentGrant(name, True, at_ms, None, source, ends_ms if held else at_ms,
                                       Basis.LEGITIMATE_INTEREST, proof=proof))
    return grants


def _stated_ms(updated_ms: int, now_ms: int) -> int:
    """When a string says what it says: strings of today tell the day only, by its midnight. Then it is when the string
    came within that day, or the day's end where it came later."""
    if updated_ms % DAY_MS:
        return min(updated_ms, now_ms)
    return min(now_ms, updated_ms + DAY_MS - 1)


def _consented(said: TcString, vendor: int, numbers: Sequence[int]) -> bool:
    barred = (NOT_ALLOWED, REQUIRE_INTEREST)
    return vendor in said.vendors and all(
        number in said.purposes and said.restricted(number, vendor) not in barred for number in numbers)


def _interest(said: TcString, vendor: int, numbers: Sequence[int]) -> bool:
    barred = (NOT_ALLOWED, REQUIRE_CONSENT)
    return vendor in said.vendors_by_interest and all(
        number in said.purposes_by_interest and number not in _BY_CONSENT_ONLY
        and said.restricted(number, vendor) not in barred for number in numbers)
