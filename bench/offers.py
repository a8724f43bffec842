"""A policy of any size for measuring the core: 50 rules, 10 caps, 3 experiments, as files for the public loader."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml

from pipeline.core.decide.live import Live
from pipeline.core.model.records import ConsentGrant, DecisionRequest
from pipeline.core.sections.counters import Counter
from pipeline.core.sections.traits import Trait
from pipeline.core.subject import Person
from pipeline.policy.load import load

TENANT: Final = "bench"
CHANNEL: Final = "web"
#: The placement that is asked for, and one that the other offers are for.
HERE: Final = "here"
ELSEWHERE: Final = "elsewhere"
RULES: Final = 50
COUNTRIES: Final = ("DE", "AT", "CH", "FR", "NL", "IT", "ES")
TAGS: Final = ("sale", "new", "members", "season", "clearance")
#: The decision's time: a Wednesday at noon.
NOW_MS: Final = 1_771_412_400_000
DAY_MS: Final = 86_400_000


def write(folder: Path, offers: int, here: int) -> None:
    """The policy's files: `offers` in the catalog, `here` of them on the placement that is asked for."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "policy.yaml").write_text(yaml.safe_dump(_policy()), "utf-8")
    items = {f"offer_{number:04}": _offer(number, number < here) for number in range(offers)}
    (folder / "offers.yaml").write_text(yaml.safe_dump({"items": items}), "utf-8")


def live(folder: Path) -> Live:
    """What a worker would have of it in memory."""
    return load(folder).live(TENANT)


def rule(number: int) -> str:
    """One of 50 rules of the kinds that marketers write; every one passes for some subjects."""
    kind, step = number % 5, number // 5
    return (
        f"profile.age >= {18 + step} && profile.country in ['DE', 'AT', '{COUNTRIES[step % len(COUNTRIES)]}']",
        f"profile.spent > {step * 20}.0 || signals.visits >= {1 + step % 4}",
        f"segment.group_{step} || context.device == 'phone'",
        f"candidate.value <= {20 + step * 9}.0 && profile.orders < {12 + step}",
        f"now - profile.signed_up_at > duration('{24 * (1 + step)}h') && !profile.blocked",
    )[kind]


def request(number: int) -> DecisionRequest:
    """Another request id and situation for every number."""
    return DecisionRequest(
        f"request-{number}", _subject(number), CHANNEL, [HERE], max_variants=3,
        attributes={"device": ("phone", "desktop")[number % 2], "basket": float(number % 90)},
    )


def profile(number: int) -> Person:
    """A subject who has been around: traits, behaviour, and counters of some caps."""
    old_ms = NOW_MS - 40 * DAY_MS
    traits = {
        "age": 20 + number % 50, "country": COUNTRIES[number % len(COUNTRIES)], "zone": "Europe/Berlin",
        "spent": float(number % 17 * 40), "orders": number % 9, "blocked": False,
        "signed_up_at": NOW_MS - (5 + number % 300) * DAY_MS, "features.propensity": 0.01 + number % 20 / 100,
    }
    seen = tuple(NOW_MS - hours * 3_600_000 for hours in range(90, 0, -30))
    counters = {f"item_daily|item|offer_{number % 100:04}": Counter(seen, 3)}
    return Person(
        profile_id=_subject(number), traits={name: Trait(value, old_ms) for name, value in traits.items()},
        consent={"personalization": ConsentGrant("personalization", True, old_ms)}, counters=counters,
    )


def _subject(number: int) -> str:
    return f"{TENANT}/{number % 50:032x}"


def _policy() -> dict[str, Any]:
    fallback = {"item": "welcome", "content": {"title": "Welcome"}}
    slot = {"channels": [CHANNEL], "max_variants": 3, "ranking": "arbitration", "fallback": fallback}
    return {
        "attributes": {
            "profile": {
                "age": "int", "country": "string", "zone": "string", "spent": {"type": "double", "default": 0.0},
                "orders": {"type": "int", "default": 0}, "signed_up_at": "timestamp",
                "blocked": {"type": "bool", "default": False},
            },
            "features": {"propensity": {"type": "double", "default": 0.05}},
            "context": {"device": "string", "basket": {"type": "double", "default": 0.0}},
            "candidate": {"value": {"type": "double", "default": 1.0}},
        },
        "zone_attribute": "zone",
        "consent": {"purposes": {"personalization": "Choose content"}},
        "channels": {CHANNEL: {"purposes": "personalization"}},
        "placements": {HERE: slot, ELSEWHERE: slot},
        "rankings": {"arbitration": {"arbitration": {
            "propensity": "features.propensity", "context_weight": "context.basket > 50.0 ? 1.5 : 1.0",
            "value": "candidate.value", "lever": "1.0 + double(candidate.priority) / 100.0",
        }}},
        "signals": {"visits": {"count": {"event": "page"}, "within": "7d"}},
        "segments": {f"group_{n}": {"rule": f"profile.spent >= {n * 60}.0"} for n in range(10)},
        "caps": _caps(),
        "experiments": {
            f"trial_{n}": {"layer": f"layer_{n}", "for": {"tag": TAGS[n]}, "variations": {"a": {}, "b": {}}}
            for n in range(3)
        },
    }


def _caps() -> dict[str, Any]:
    daily, weekly = {"calendar": "day", "zone": "subject"}, "7d"
    return {
        "item_daily": {"count": "impression", "per": "item", "limit": 3, "window": daily},
        "item_weekly": {"count": "decision", "per": "item", "limit": 9, "window": weekly},
        "item_bought": {"count": "conversion", "per": "item", "limit": 1, "window": "lifetime"},
        "all_hourly": {"count": "decision", "per": "all", "limit": 200, "window": "1h"},
        "channel_daily": {"count": "decision", "per": "channel", "limit": 500, "window": daily},
        **{f"tag_{tag}": {"count": "decision", "per": "tag", "limit": 40, "window": weekly, "for": {"tag": tag}}
           for tag in TAGS},
    }


def _offer(number: int, here: bool) -> dict[str, Any]:
    return {
        "kind": "offer", "priority": number % 100, "tags": [TAGS[number % len(TAGS)]],
        "placements": [HERE if here else ELSEWHERE], "attributes": {"value": float(1 + number % 97)},
        "eligibility": rule(number % RULES), "suitability": rule((number * 7 + 3) % RULES),
        "variants": {"default": {"content": {"title": f"Offer {number}", "link": f"/offers/{number}"}}},
    }
