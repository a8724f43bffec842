"""What an event teaches about a subject: traits, consent, behaviour, counted caps; and what follows from that."""

from __future__ import annotations

from typing import Final, TypeVar, assert_never

from pipeline.core.consent import answers, permission
from pipeline.core.decide import caps
from pipeline.core.decide.live import Live
from pipeline.core.features import taking
from pipeline.core.identity import accounts
from pipeline.core.journeys import advance
from pipeline.core.model.bounds import SIGNALS_KEPT_MAX
from pipeline.core.model.definitions import Cap, Item, Policy, Suppression
from pipeline.core.model.records import COUNTED, FeedbackEvent, FeedbackKind, IdentityEvent
from pipeline.core.model.values import Value, replaced
from pipeline.core.outcomes import crediting
from pipeline.core.outcomes.rewarding import Told
from pipeline.core.rules import facts, signals
from pipeline.core.sections import memberships
from pipeline.core.sections.counters import Counter
from pipeline.core.sections.section import changed
from pipeline.core.sections.timestamps import appended
from pipeline.core.sections.traits import Trait, newer
from pipeline.core.subject import Account, Person, remember_event

Learnt = tuple[Person, tuple[advance.Change, ...]]
#: The person after behaviour, the changes of segments and journeys, and what the event is an outcome of.
Heard = tuple[Person, tuple[advance.Change, ...], tuple[Told, ...]]
_S = TypeVar("_S", Person, Account)

#: More traits than this on one profile are refused: it must stay a small value.
TRAITS_MAX: Final = 256


class Hearing(Value, frozen=True):
    """An event of behaviour that may be learnt, at which placement and channel it was, the policy that it is heard
    under, and its moment: never ahead of now."""

    event: FeedbackEvent
    policy: Policy
    at_ms: int


_HEAR: Final = [(name, one.hear) for name, one in sorted(Person.SECTIONS.items()) if one.hear is not None]


def told(state: _S, event: IdentityEvent, policy: Policy | None, now_ms: int) -> tuple[_S, set[str]]:
    """Traits and consent of a person or an account, and the names of the traits that changed: the newest event time
    wins, in whatever order events come. A time ahead is now."""
    traits, touched = dict(state.traits), set()
    at_ms = min(event.at_ms, now_ms)
    for name, value in event.traits.items():
        winner = newer(traits.get(name), Trait(value, at_ms))
        if winner is not traits.get(name):
            traits[name] = winner
            touched.add(name)
    if len(traits) > TRAITS_MAX:
        read = policy.traits if policy is not None else {}
        by_use = sorted(traits, key=lambda name: (name in read, traits[name].at_ms, name))
        for name in by_use[:len(traits) - TRAITS_MAX]:
            del traits[name]
    said = state.consent
    if event.consent:
        grants = answers.as_received(said, event.consent)
        said = answers.recorded(said, grants, policy.purposes if policy is not None else {}, now_ms)
    return changed(state, traits=traits, consent=said, event_ids=remember_event(state, event.event_id, at_ms)), touched


def identity(profile: Person, event: IdentityEvent, live: Live | None, now_ms: int) -> Learnt:
    """What one event says of a person: also of which account they are a member."""
    policy = live.policy if live is not None else None
    after, touched = told(profile, event, policy, now_ms)
    if event.membership is not None:
        members = memberships.joined(profile.accounts, event.membership, min(event.at_ms, now_ms))
        after = changed(after, accounts=members)
    if live is None or policy is None:
        return after, ()
    paths = {policy.traits[name].path for name in touched if name in policy.traits}
    if policy.zone_trait in touched:
        paths.add("zone")
    return advance.refresh(after, policy, now_ms, None if event.membership is not None else paths,
                           account=accounts.of(after, live.accounts))


def feedback(profile: Person, event: FeedbackEvent, live: Live | None, now_ms: int) -> Heard | None:
    """Behaviour, counted caps and outcomes. None where nothing may be learnt: no consent to be tracked."""
    at_ms = min(event.at_ms, now_ms)
    known = changed(profile, event_ids=remember_event(profile, event.event_id, at_ms),
                    heard_ms=profile.heard_ms or now_ms)
    if live is None:
        return known, (), ()
    policy = live.policy
    item = live.items.get(event.item_id or "") or _unlisted(event.item_id or "")
    event, decided = _located(profile, event, policy)
    allowed = permission.tracked(profile.consent, policy, event.channel or "", now_ms)
    counters = _counted(profile, event, policy, item, at_ms, now_ms, allowed) if decided else None
    if not allowed:
        return None if counters is None else (changed(known, counters=counters), (), ())
    suppressions = None
    if policy.suppressions:
        counters = dict(profile.counters if counters is None else counters)
        suppressions = _after_outcome(profile, event, policy, item, at_ms, counters)
    if counters is not None:
        counters = caps.bounded(counters, live.caps, live.suppressions, now_ms)
    behaviour, touched = signals.recorded(policy, profile.behaviour, event, item.tags, at_ms, len(profile.merged))
    if behaviour is not None and len(behaviour) > SIGNALS_KEPT_MAX:
        asked = {key for signal in policy.signals for key in signal.keys}
        behaviour = {key: timestamps for key, timestamps in behaviour.items() if key in asked}
    features, moved = _features(profile, event, policy, item, at_ms, now_ms)
    hearing = Hearing(event, policy, at_ms)
    heard = {name: hear(getattr(profile, name), hearing) for name, hear in _HEAR}
    after = changed(known, **heard, features=features, counters=profile.counters if counters is None else counters,
                    behaviour=profile.behaviour if behaviour is None else behaviour,
                    suppressions=profile.suppressions if suppressions is None else _running(suppressions, now_ms))
    after, outcomes = crediting.heard(after, event, item, live, at_ms, now_ms)
    after, changes = advance.refresh(after, policy, now_ms, touched | moved,
                                     account=accounts.of(after, live.accounts),
                                     happened=advance.Happened(event, item.tags, at_ms))
    return after, changes, outcomes


def _features(
    profile: Person, event: FeedbackEvent, policy: Policy, item: Item, at_ms: int, now_ms: int
) -> tuple[dict[str, bytes], set[str]]:
    """The features after the event, and the paths of those that it touched."""
    if not policy.features:
        return profile.features, set()
    kept = taking.folded(profile.features, policy, profile.merged, now_ms)
    zone = facts.zone_of(profile, policy)[1]
    return taking.taken(policy, kept, event, item.tags, at_ms, now_ms, zone)


def _running(suppressions: dict[str, int], now_ms: int) -> dict[str, int]:
    return {key: until for key, until in suppressions.items() if until > now_ms}


def _unlisted(item_id: str) -> Item:
    """What is known of an item that is not in the catalog (any more): its id."""
    return Item(item_id, "", 0, {}, ())


def _located(profile: Person, event: FeedbackEvent, policy: Policy) -> tuple[FeedbackEvent, bool]:
    """The event with the placement and channel at which its item was shown; and whether caps may count it.

    The decision knows where that was, not the reporting client: what the event leaves out, or names wrongly, is filled
    in from the reservations. An impression counts only if it is of something decided: if it names its decision, or a
    reservation of its item is remembered.
    """
    if event.kind not in COUNTED or not event.item_id:
        return event, event.kind is not FeedbackKind.VIEW or bool(event.decision_id)
    shown = caps.shown_at(profile.counters, event.decision_id, event.item_id, event.placement or "")
    if shown is None and event.decision_id is None and event.kind is FeedbackKind.VIEW:
        return event, False
    placement = event.placement if event.placement in policy.placements else None
    channel = event.channel if event.channel in policy.channels else None
    if shown is not None:
        placement, channel = shown[0], shown[1] or channel
    if (placement, channel) == (event.placement, event.channel):
        return event, True
    return replaced(event, placement=placement, channel=channel), True


def _counted(
    profile: Person, event: FeedbackEvent, policy: Policy, item: Item, at_ms: int, now_ms: int, allowed: bool
) -> dict[str, Counter] | None:
    """The counters after the event; None where it counts nowhere. Without consent only a place already held settles."""
    name = COUNTED.get(event.kind) or f"event:{event.name}"
    placement, channel = event.placement or "", event.channel or ""
    # Where a decision was shown is not known any more: in doubt it was where the cap is about.
    reaches = caps.may_reach if event.decision_id else caps.reaches
    result: dict[str, Counter] | None = None
    for cap in policy.caps:
        if cap.counted != name or not reaches(cap.reach, item, placement, channel):
            continue
        of_session = cap.window.by_channel
        # Of a session on a channel that is not known, any may be meant.
        for where in (profile.sessions if of_session and not channel else (channel,)):
            for key in caps.keys(cap, item, placement, where):
                counter = profile.counters.get(key)
                holders = caps.holders(counter, event.decision_id, event.item_id, placement, channel)
                if (allowed and _countable(cap, item, placement, where)) or holders:
                    result = dict(profile.counters) if result is None else result
                    # A session is short beside a wrong clock: what was decided in it counts when it is heard of.
                    seen_ms = now_ms if of_session and holders else at_ms
                    result[key] = caps.settled(cap, counter, holders, seen_ms, len(profile.merged))
    return result


def _countable(limit: Cap | Suppression, item: Item, placement: str, channel: str) -> bool:
    """Whether there is a counter for it: an id that is nothing of the catalog's, or no place of ours, has none."""
    match limit.scope:
        case "item":
            return bool(item.kind)
        case "placement":
            return bool(placement)
        case "channel" | "session":
            return bool(channel)
        case "tag" | "campaign" | "all":
            return True
    assert_never(limit.scope)


def _after_outcome(
    profile: Person, event: FeedbackEvent, policy: Policy, item: Item, at_ms: int, counters: dict[str, Counter]
) -> dict[str, int] | None:
    """The suppressions after the event: `at_least` outcomes within a time suppress the thing. Counts into `counters`.
    """
    name = COUNTED.get(event.kind) or f"event:{event.name}"
    suppressions: dict[str, int] | None = None
    placement, channel = event.placement or "", event.channel or ""
    for suppression in policy.suppressions:
        if suppression.counted != name or not caps.reaches(suppression.reach, item, placement, channel):
            continue
        if not _countable(suppression, item, placement, channel):
            continue
        for key in caps.keys(suppression, item, placement, channel):
            old = counters.get(key, caps.EMPTY)
            times = appended(old.times, at_ms, suppression.at_least)
            counters[key] = Counter(times, old.total + 1)
            if len(times) == suppression.at_least and times[-1] - times[0] < suppression.within_ms:
                suppressions = dict(profile.suppressions) if suppressions is None else suppressions
                suppressions[key] = max(suppressions.get(key, 0), times[-1] + suppression.lasts_ms)
    return suppressions
