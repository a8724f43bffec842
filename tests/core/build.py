"""Small policies and subjects for the core's tests, made the way a policy folder makes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.core.decide.live import Live, arrange
from pipeline.core.model.records import ConsentGrant, DecisionRequest
from pipeline.core.release import compile_release
from pipeline.core.release.catalog import ItemCompiler
from pipeline.core.sections.section import changed
from pipeline.core.subject import Person
from pipeline.policy.definitions import PolicyDefinition
from pipeline.policy.load import item_body, release_body, release_id

SUBJECT = "shop/subject"

BASE: dict[str, Any] = {
    "attributes": {
        "profile": {
            "plan": "string", "age": "int", "spent": "double", "member": "bool", "country": "string",
            "zone": "string", "since": "timestamp", "name": "string", "interests": "list(string)",
        },
        "features": {"propensity": {"type": "double", "default": 0.1}, "score": "double"},
        "account": {"tier": "string", "seats": "int"},
        "journey": {"step": "string"},
        "context": {"page": "string", "basket": "double"},
        "candidate": {"category": "string", "value": {"type": "double", "default": 1.0}},
    },
    "zone_attribute": "zone",
    "consent": {"purposes": {"personalization": "", "marketing": ""}, "tracking": "personalization"},
    "channels": {"web": {"purposes": ["personalization"]}, "email": {"purposes": ["personalization", "marketing"]}},
    "placements": {
        "hero": {"channels": ["web", "email"], "ttl": "5m",
                 "fallback": {"item": "welcome", "content": {"title": "Hi"}}},
        "tiles": {"channels": ["web"], "max_variants": 3, "ttl": "10m", "fallback": {"item": "bestsellers"}},
    },
}


def made(policy: Mapping[str, Any] | None = None, items: Mapping[str, Any] | None = None, version: int = 1) -> Live:
    """The base with sections joined to it. An item without variants gets an empty one; names and lists of none of an
    item are left out."""
    data = joined(BASE, policy or {})
    data["items"] = {name: {"kind": "offer", "variants": {"default": {}},
                            **{field: value for field, value in item.items() if value not in ("", [])}}
                     for name, item in (items or {}).items()}
    definition = PolicyDefinition.model_validate(data)
    body = release_body(definition)
    compiled = compile_release(body, release_id(body))
    compiler = ItemCompiler(compiled)
    return arrange("shop", compiled, [compiler.compile(name, item_body(item))
                                      for name, item in definition.items.items()], version)


def joined(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
    """Two mappings as one, the second's values over the first's."""
    result = dict(a)
    for name, value in b.items():
        below = result.get(name)
        result[name] = joined(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return result


def agreed(profile: Person | None = None, *purposes: str) -> Person:
    """A profile that consented to the purposes; to all of them where none is named."""
    own = profile or Person(profile_id=SUBJECT)
    grants = {name: ConsentGrant(name, True, 1) for name in purposes or ("personalization", "marketing")}
    return changed(own, consent=grants)


def asked(request_id: str = "r", placements: str | list[str] = "hero", channel: str = "web", **more: Any
          ) -> DecisionRequest:
    """A request of the test's subject."""
    wanted = [placements] if isinstance(placements, str) else placements
    return DecisionRequest(request_id, SUBJECT, channel, wanted, **more)
