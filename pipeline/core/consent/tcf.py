"""IAB Europe's TC string (TCF 2.3) to what it says: a reader of its bits. Maps nothing; knows no policy.

Layout: the framework's technical specification, "Consent string and vendor list formats v2". Since 2.3 a string without
the segment of disclosed vendors is not valid: it does not prove that the vendor was shown to the person.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import Final

VERSION: Final = 2
#: Policy 5 came with TCF 2.3; older policies are read, and told apart by their disclosed vendors.
PURPOSES: Final = 24
_DISCLOSED, _ALLOWED, _PUBLISHER = 1, 2, 3
_SIXBIT: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#: A string of the whole vendor list, each vendor alone in a range, is a tenth of this.
CHARS_MAX: Final = 100_000

NOT_ALLOWED, REQUIRE_CONSENT, REQUIRE_INTEREST = 0, 1, 2


class TcfError(ValueError):
    """A string that cannot be used, and what to do about it."""


@dataclass(frozen=True, slots=True)
class TcString:
    """Times in epoch ms. Purposes and vendors by their numbers in the framework."""

    created_ms: int
    updated_ms: int
    cmp_id: int
    cmp_version: int
    screen: int
    language: str
    vendor_list: int
    policy: int
    service_specific: bool
    country: str
    purpose_one_treatment: bool
    special_features: frozenset[int]
    purposes: frozenset[int]
    purposes_by_interest: frozenset[int]
    vendors: frozenset[int]
    vendors_by_interest: frozenset[int]
    disclosed: frozenset[int]
    #: Purpose → kind of restriction → vendors.
    restrictions: dict[int, dict[int, frozenset[int]]] = field(default_factory=dict)

    def restricted(self, purpose: int, vendor: int) -> int | None:
        """The publisher's restriction of a vendor's purpose, the strictest where there are several; None: none."""
        kinds = self.restrictions.get(purpose, {})
        return min((kind for kind, vendors in kinds.items() if vendor in vendors), default=None)


class _Bits:
    """Bits from the left; raises TcfError at the end."""

    def __init__(self, text: str, what: str) -> None:
        self._what = what
        try:
            data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as error:
            raise TcfError(f"the {what} is not base64url: pass the TC string on unchanged") from error
        self._bits = int.from_bytes(data)
        self._left = len(data) * 8

    def number(self, size: int) -> int:
        if size > self._left:
            raise TcfError(f"the {self._what} ends too early: the string was cut off, pass it on whole")
        self._left -= size
        return self._bits >> self._left & (1 << size) - 1

    def flag(self) -> bool:
        return bool(self.number(1))

    def letters(self) -> str:
        one, two = self.number(6), self.number(6)
        if max(one, two) >= len(_SIXBIT):
            raise TcfError(f"the {self._what} has a code that is no two letters: is it a TC string?")
        return _SIXBIT[one] + _SIXBIT[two]

    def field(self, size: int) -> frozenset[int]:
        bits = self.number(size)
        return frozenset(place + 1 for place in range(size) if bits >> size - 1 - place & 1)

    def ranges(self) -> frozenset[int]:
        found: set[int] = set()
        for _ in range(self.number(12)):
            several = self.flag()
            first = self.number(16)
            last = self.number(16) if several else first
            if first < 1 or last < first:
                raise TcfError(f"the {self._what} has a range of vendors from {first} to {last}: is it a TC string?")
            found.update(range(first, last + 1))
        return frozenset(found)

    def vendors(self) -> frozenset[int]:
        size = self.number(16)
        return self.ranges() if self.flag() else self.field(size)


def decode(text: str) -> TcString:
    """What a TC string says. Raises TcfError."""
    if len(text) > CHARS_MAX:
        raise TcfError(f"has {len(text)} characters: a TC string has at most {CHARS_MAX}")
    core, *others = text.split(".")
    if not core:
        raise TcfError("the TC string is empty")
    bits = _Bits(core, "core segment")
    version = bits.number(6)
    if version != VERSION:
        raise TcfError(f"is a string of version {version}: only version {VERSION} (TCF 2.0 to 2.3) is understood; have "
                       "the consent management platform ask anew")
    disclosed: frozenset[int] | None = None
    for other in others:
        segment = _Bits(other, "segment of disclosed vendors" if other[:1] in "IJKLMNOP" else "further segment")
        kind = segment.number(3)
        if kind == _DISCLOSED:
            disclosed = segment.vendors()
        elif kind not in (_ALLOWED, _PUBLISHER):
            raise TcfError(f"has a segment of kind {kind}, which TCF 2.3 does not know")
    found = _core(bits, disclosed or frozenset())
    if disclosed is None:
        raise TcfError("has no segment of disclosed vendors, which TCF 2.3 demands: have the consent management "
                       "platform write version 2.3 strings")
    return found


def _core(bits: _Bits, disclosed: frozenset[int]) -> TcString:
    created, updated = bits.number(36) * 100, bits.number(36) * 100
    cmp_id, cmp_version, screen = bits.number(12), bits.number(12), bits.number(6)
    language, vendor_list, policy = bits.letters(), bits.number(12), bits.number(6)
    service_specific, _ = bits.flag(), bits.flag()
    special = bits.field(12)
    purposes, by_interest = bits.field(PURPOSES), bits.field(PURPOSES)
    one_treatment, country = bits.flag(), bits.letters()
    vendors, vendors_by_interest = bits.vendors(), bits.vendors()
    restrictions: dict[int, dict[int, frozenset[int]]] = {}
    for _ in range(bits.number(12)):
        purpose, kind = bits.number(6), bits.number(2)
        kinds = restrictions.setdefault(purpose, {})
        kinds[kind] = kinds.get(kind, frozenset()) | bits.ranges()
    return TcString(created, updated, cmp_id, cmp_version, screen, language, vendor_list, policy, service_specific,
                    country, one_treatment, special, purposes, by_interest, vendors, vendors_by_interest, disclosed,
                    restrictions)
