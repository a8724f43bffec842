"""What a decision saw of each item that it showed, from its audit and the release of that time. Pure.

The decision is made again: what cannot be made the same again has no row, so no row holds what was not seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from pipeline.core.decide.decision import ENGINE
from pipeline.core.decide.live import Live
from pipeline.core.decide.replay import decided_again, differences
from pipeline.core.model.definitions import Item
from pipeline.core.model.records import AuditRecord, Chosen
from pipeline.core.rules import facts as fact
from pipeline.core.subject import Person

_CANDIDATE: Final = "candidate."
#: Stages at which a candidate could have been shown at the place that was filled.
_COULD_BE_SHOWN: Final = ("chosen", "outranked")


class LeftOut(StrEnum):
    """Why an audit has no rows."""

    #: Another version of the engine decided: it cannot be made again.
    OTHER_ENGINE = "other_engine"
    #: Decided again, it is not what the audit says.
    DIFFERS = "differs"
    #: The release or the catalog of that time is not kept.
    NOT_KEPT = "not_kept"
    #: Its subject was erased, or the keys are not there.
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Row:
    """One item shown. `position`: from 0, within its placement. `features`: values by the fact's path; what is not
    there was not known. `candidates`: what could have been shown at that place, the item itself included, sorted.
    """

    decision_id: str
    decided_ms: int
    profile_id: str
    placement: str
    channel: str
    scenario: str
    position: int
    action: str
    variant: str
    pscore: float
    candidates: tuple[str, ...]
    experiments: tuple[str, ...]
    release: str
    policy_digest: str
    catalog_digest: str
    catalog_version: int
    features: dict[str, Any]


def rows_of(audit: AuditRecord, live: Live) -> list[Row] | LeftOut:
    """The rows of an audited decision; `live` has the release and the catalog that it names. Fallback content, which
    nobody chose, has none.
    """
    if audit.engine != ENGINE:
        return LeftOut.OTHER_ENGINE
    again = decided_again(audit, live)
    if differences(audit, again):
        return LeftOut.DIFFERS
    places: dict[str, int] = {}
    rows = []
    for one in audit.decisions:
        place = places.get(one.placement, 0)
        places[one.placement] = place + 1
        if not one.fallback:
            rows.append(_row(audit, live, one, place, again.facts))
    return rows


def _row(audit: AuditRecord, live: Live, one: Chosen, place: int, facts: dict[str, Any]) -> Row:
    reached = live.slots[one.placement, audit.request.channel].footprint.facts
    subject = {name: value for name, value in facts.items() if name in reached}
    return Row(
        audit.decision_id, audit.at_ms, audit.profile_id, one.placement, audit.request.channel, audit.request.scenario,
        place, one.item_id, one.variant, one.propensity, _candidates(audit, one, place),
        tuple(one.experiment.split(",")) if one.experiment else (), audit.release, audit.policy_digest,
        audit.catalog_digest, audit.catalog_version,
        subject | _of_item(audit, live, live.items[one.item_id], reached),
    )


def _of_item(audit: AuditRecord, live: Live, item: Item, reached: frozenset[str]) -> dict[str, Any]:
    """The item's attributes of that time; and of what the subject did about it, what the decision could read: the
    audit holds nothing else of that.
    """
    features = {one.path for one in live.policy.item_features}
    facts = dict(item.facts)
    if features & reached:
        own = audit.profile_before or Person(profile_id=audit.request.subject)
        facts = fact.of_item(fact.reader(own, live.policy, audit.at_ms), live.policy, item)
    return {
        name: value for name, value in facts.items()
        if name.startswith(_CANDIDATE) and name != "candidate.id" and (name not in features or name in reached)
    }


def _candidates(audit: AuditRecord, one: Chosen, place: int) -> tuple[str, ...]:
    above = [other.item_id for other in audit.decisions if other.placement == one.placement and not other.fallback]
    could = {
        candidate.item_id for candidate in audit.candidates
        if candidate.placement == one.placement and candidate.outcome in _COULD_BE_SHOWN
    }
    return tuple(sorted((could - {*above[:place]}) | {one.item_id}))
