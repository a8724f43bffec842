"""What is fed in: subjects with consent and traits, and their decision requests. The same numbers give the same bytes.

Everything fits the example policy in `policy/`.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from pipeline.codecs import avro
from pipeline.core.identity.identifiers import subject_key
from pipeline.core.model.records import ConsentGrant, DecisionRequest, IdentityEvent, IdentityKind
from pipeline.settings import Settings
from topics.catalog import DAY_MS, DECISION_REQUESTS, IDENTITY_EVENTS

#: Placement and how many variants are asked for, in the proportions in which they are asked.
ASKED: Final = (("home.hero", 1), ("home.hero", 1), ("home.tiles", 3), ("basket.upsell", 1))
PAGES: Final = ("/", "/tents", "/boots", "/jackets", "/sale")
COUNTRIES: Final = ("DE", "AT", "CH", "FR", "NL")


@dataclass(frozen=True, slots=True)
class Encoded:
    """One record ready to be produced."""

    key: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Subjects:
    """So many subjects of one name; request `n` is asked for subject `n % count`."""

    settings: Settings
    name: str
    count: int

    def raw_id(self, number: int) -> str:
        """The identifier that a site would send."""
        return f"{self.name}-{number % self.count}"

    def key(self, number: int) -> str:
        """The subject key that the bridge makes of it."""
        settings = self.settings
        return subject_key(settings.tenant_keys, settings.tenant, "user_id", self.raw_id(number))

    def known(self, at_ms: int, numbers: range | None = None) -> Iterator[Encoded]:
        """One event for each subject, or for some: it agrees to everything and says who it is."""
        consent = [ConsentGrant(purpose, True, at_ms, source="bench") for purpose in ("personalization", "marketing")]
        for number in range(self.count) if numbers is None else numbers:
            chance = random.Random(f"{self.name}/{number}")
            key = self.key(number)
            event = IdentityEvent(
                f"{self.name}-known-{number}", key, IdentityKind.IDENTIFY, at_ms, _traits(chance, at_ms), consent
            )
            yield Encoded(key.encode(), avro.encode(IDENTITY_EVENTS, event))

    def requests(self, prefix: str, numbers: range, reply_partition: int) -> Iterator[tuple[str, Encoded]]:
        """Request ids and records, as the bridge would produce them."""
        for number in numbers:
            placement, variants, attributes = _situation(number)
            request_id, key = f"{prefix}-{number}", self.key(number)
            request = DecisionRequest(
                request_id, key, "web", [placement], max_variants=variants, attributes=attributes,
                reply_partition=reply_partition, digest=request_id,
            )
            yield request_id, Encoded(key.encode(), avro.encode(DECISION_REQUESTS, request))

    def bodies(self, numbers: range) -> Iterator[bytes]:
        """The same requests as callers send them to the bridge."""
        for number in numbers:
            placement, variants, attributes = _situation(number)
            yield json.dumps({
                "subject": {"id": self.raw_id(number)},
                "context": {"channel": "web", "placement": placement, "attributes": attributes},
                "constraints": {"max_variants": variants},
            }).encode()


def _traits(chance: random.Random, at_ms: int) -> dict[str, Any]:
    return {
        "plan": chance.choice(("free", "free", "plus")),
        "country": chance.choice(COUNTRIES),
        "zone": "Europe/Berlin",
        "signed_up_at": at_ms - chance.randrange(400) * DAY_MS,
        "orders": chance.randrange(6),
        "spent": round(chance.random() * 900, 2),
        "birthday_month": chance.randrange(1, 13),
        "features.buy_propensity": round(chance.random() / 5, 4),
    }


def _situation(number: int) -> tuple[str, int, dict[str, Any]]:
    chance = random.Random(number)
    placement, variants = chance.choice(ASKED)
    attributes = {"page": chance.choice(PAGES), "device": chance.choice(("phone", "desktop"))}
    if placement == "basket.upsell":
        return placement, variants, {**attributes, "basket_value": round(chance.random() * 200, 2)}
    return placement, variants, dict(attributes)
