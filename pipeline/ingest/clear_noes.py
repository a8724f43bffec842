"""What is left of an event that cannot be accepted: whose it is, when it was, and what is clearly refused in it.

A clear no is never lost, whatever is wrong beside it: a purpose that is false, said of a person whose identifier can
be read. Nothing that permits is read here, and nothing that is not about consent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from pipeline.ingest.consent_bodies import clear_noes
from pipeline.ingest.event_bodies import EventContext, SegmentEvent
from pipeline.ingest.json_text import either

#: What is taken of an event where it can be read by itself.
_FIELDS: Final = {
    name: field.alias or name for name, field in SegmentEvent.model_fields.items()
    if name in ("message_id", "user_id", "anonymous_id", "group_id", "timestamp", "original_timestamp", "sent_at")
}
_TIMES: Final = frozenset(("timestamp", "original_timestamp", "sent_at"))
#: The types that say something of others than the person; any other is read as one about consent alone.
_TYPES: Final = ("group", "identify")


def refusing(event: bytes, head: bytes = b"{}") -> SegmentEvent | None:
    """Of an event, and of what its batch says for all, as they were sent, what may refuse; None where neither is an
    object. Where a time cannot be read, there is none: the no counts from when it came."""
    sent, whole = _object(event), _object(head)
    if sent is None:
        return None
    fields: dict[str, Any] = {}
    dated = True
    for name, alias in _FIELDS.items():
        given = sent.get(alias, whole.get(alias) if name == "sent_at" and whole else None)
        try:
            fields[name] = getattr(SegmentEvent.model_validate({"type": "track", alias: given}), name)
        except ValidationError:
            dated = dated and name not in _TIMES
    if not dated:
        fields |= dict.fromkeys(_TIMES)
    context = _context(sent)
    if whole is not None:
        context = context.within(_context(whole))
    type_ = sent.get("type")
    traits = sent.get("traits")
    known = {name: traits[name] for name in ("email", "phone") if isinstance(traits.get(name), str)} if (
        type_ == "identify" and isinstance(traits, dict)) else {}
    return SegmentEvent.model_construct(
        type=type_ if type_ in _TYPES else "track", context=context, traits=known, **fields)


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(text.decode("utf-8", "surrogatepass"), object_pairs_hook=_either, strict=False)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _either(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of its pairs; of two of one name, what they say together."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        found[name] = either(found[name], value) if name in found else value
    return found


def _context(sent: Mapping[str, Any]) -> EventContext:
    given = sent.get("context")
    context = given if isinstance(given, dict) else {}
    library = context.get("library")
    name = library.get("name") if isinstance(library, dict) else None
    return EventContext.model_construct(
        consent=clear_noes(context.get("consent")),
        consent_management=clear_noes(context.get("consentManagement")),
        account_consent=clear_noes(context.get("accountConsent")),
        library={"name": name} if isinstance(name, str) and name.isprintable() else None, device=None, group_id=None)
