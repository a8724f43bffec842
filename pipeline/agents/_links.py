"""How an identifier comes to a profile: claim, offer, accept, and the state given up (docs/identity.md). Not an agent.

Each step is one record through `profile.inbox`, decided by the owner of the key it goes to. A profile that has
identifiers or merges of its own is first offered, so that the claimant, who alone knows its own, keeps the limits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from pipeline.core.identity import erasure, links, rotation
from pipeline.core.identity.identifiers import key_of
from pipeline.core.identity.identity_rules import DEFAULT, USER_ID, IdentityRules
from pipeline.core.keys import beside, hash_of, tenant_of
from pipeline.core.model.records import Identifier, IdentityEvent, InboxRecord, LinkKind, LinkStep
from pipeline.core.model.values import replaced
from pipeline.core.sections.links import (
    BROUGHT,
    CLAIMED,
    GIVEN_UP,
    HELD,
    JOINED,
    LEFT,
    LIMITED,
    LINKED,
    MENTIONS_MAX,
    Link,
)
from pipeline.core.sections.retries import REQUESTS_MAX
from pipeline.core.sections.section import changed
from pipeline.core.sections.seen import NOTHING
from pipeline.core.subject import UNDO_TIMER, Given, Person, Redirect, carrying_replies, remember_event
from pipeline.flow import Accept, Context, Drop, Emit, Forward, Outcome, Reason
from topics.catalog import PROFILE_INBOX

_S = TypeVar("_S", bound=Person | Redirect)

#: Why an identifier left a profile.
LATER_LOGIN, ALIAS, LOGOUT, ERASED = "later_login", "alias", "logout", "erased"


def rules_of(key: str, ctx: Context) -> IdentityRules:
    """The rules about identifiers of the key's tenant."""
    live = ctx.live(tenant_of(key))
    return DEFAULT if live is None else live.policy.identity


def to_inbox(event_id: str, to: str, origin: str, link: LinkStep, earlier: Sequence[str] = ()) -> Emit:
    """One step on its way. `earlier`: the hashes of where it goes under earlier tenant keys."""
    return Emit(PROFILE_INBOX, to, InboxRecord(event_id, to, origin, link=link, earlier=[*earlier]))


def claims(
    event: IdentityEvent, owner: str, wanted: tuple[Identifier, ...], explicit: bool = False
) -> tuple[Emit, ...]:
    """The profile's claims on identifiers."""
    return tuple(
        to_inbox(event.event_id, key_of(tenant_of(owner), one), owner,
                 LinkStep(LinkKind.CLAIM, one, owner, event.at_ms, event.source, explicit), one.earlier)
        for one in wanted
    )


def take_alias(event: IdentityEvent, profile_id: str, state: Person | None, ctx: Context) -> Outcome:
    """Somebody's word, at the profile named: that the event's subject belongs to it."""
    profile = state or Person(profile_id=profile_id)
    if event.event_id in profile.event_ids:
        return Drop(Reason.DUPLICATE_EVENT)
    if erasure.refused(profile, event.at_ms):
        return Drop(Reason.ERASED)
    if event.subject == profile_id:
        return Drop(Reason.ALREADY_ONE)
    after, one, cause = links.aliased(profile, event, rules_of(profile_id, ctx), ctx.now_ms)
    after = changed(after, event_ids=remember_event(profile, event.event_id, ctx.now_ms))
    if cause:
        return Accept(Reason.IDENTIFIER_LIMITED, after,
                      (not_held(event.event_id, profile_id, one, event.at_ms, event.source, cause),))
    return Accept(Reason.LINKED, after, claims(event, profile_id, (one,), explicit=True))


def claim(event: InboxRecord, step: LinkStep, state: Person | None, ctx: Context) -> Outcome:
    """An identifier is claimed: here, or it has come home already."""
    if step.cause.startswith(BROUGHT):
        return _led_straight(event, step, state, ctx)
    if step.cause:
        return _left_out(event, step, state or Person(profile_id=event.profile_id), state, ctx)
    if step.owner == event.profile_id:
        return _has_it(step, state)
    if state is not None and claim_id(event) in state.event_ids:
        return Drop(Reason.DUPLICATE_EVENT)
    bring = _brought(event, step, state)
    if state is None or not (bring or state.merged):
        return give_up(event, step, state, ctx)
    return _offered(event, step, bring)


def claim_redirect(event: InboxRecord, step: LinkStep, redirect: Redirect, ctx: Context) -> Outcome:
    """An identifier is claimed that belongs to another profile: a shared one follows the latest login, any other one
    brings the profile it belongs to."""
    if step.cause.startswith(BROUGHT):
        return _led_straight(event, step, redirect, ctx)
    if step.cause:
        return _left_out(event, step, redirect, redirect, ctx)
    if step.owner == event.profile_id:
        # The claimant was given up itself meanwhile, and its claims with it.
        step = replaced(step, owner=redirect.to)
    direct = links.is_of(step.identifier, event.profile_id)
    known = redirect.links.get(hash_of(event.profile_id))
    follows = step.explicit or rules_of(redirect.to, ctx).of(step.identifier.type).follows
    if not direct or step.owner == redirect.to or not follows:
        return Forward(Reason.FORWARDED, to_inbox(event.event_id, redirect.to, event.from_subject, step))
    if claim_id(event) in redirect.event_ids:
        return Drop(Reason.DUPLICATE_EVENT)
    if known is not None and not step.explicit and known.at_ms > step.at_ms:
        left = replaced(step, kind=LinkKind.LEFT, cause=LATER_LOGIN, at_ms=known.at_ms)
        return Forward(Reason.LATER_LOGIN, to_inbox(event.event_id, step.owner, event.profile_id, left))
    return give_up(event, step, redirect, ctx)


def _left_out(
    event: InboxRecord, step: LinkStep, own: Person | Redirect, state: Person | Redirect | None, ctx: Context
) -> Outcome:
    """A profile has evidence about the identifier without holding it."""
    knows, forgotten = mentioned(own, step.owner, event.event_id, ctx.now_ms)
    return Accept(Reason.NOT_LINKED, knows, forgotten) if knows is not state else Drop(Reason.NOT_LINKED)


def _offered(event: InboxRecord, step: LinkStep, bring: list[Identifier]) -> Outcome:
    offer = replaced(step, kind=LinkKind.OFFER, identifiers=bring)
    return Forward(Reason.OFFERED, to_inbox(event.event_id, step.owner, event.profile_id, offer))


def _brought(event: InboxRecord, step: LinkStep, state: Person | None) -> list[Identifier]:
    """What would come along with the claimed identifier."""
    if state is None:
        return []
    own = hash_of(event.profile_id)
    found = {one.hash: one for one in links.held(state)}
    # A key that nobody typed counts as somebody's account: of the type that joins fewest.
    found.setdefault(own, Identifier(USER_ID, own))
    found.pop(own if links.is_of(step.identifier, event.profile_id) else step.identifier.hash, None)
    return sorted(found.values(), key=lambda one: one.hash)


def _has_it(step: LinkStep, state: Person | None) -> Outcome:
    link = None if state is None else state.links.get(step.identifier.hash)
    if state is None or link is None or link.outcome != CLAIMED:
        return Drop(Reason.ALREADY_ONE)
    return Accept(Reason.LINKED, links.settled(state, step.identifier.hash, LINKED))


def _led_straight(event: InboxRecord, step: LinkStep, state: Person | Redirect | None, ctx: Context) -> Outcome:
    """Whoever took up the profile that an alias belongs to has the alias too: it follows directly, wherever that
    profile's key goes later. Only where it is still the very alias that was taken up along; else who thinks so is told
    that it has left."""
    to = state.to if isinstance(state, Redirect) else None
    if state is None or to == step.owner:
        return Drop(Reason.NOT_LINKED)
    if step.owner == event.profile_id:
        # It was said to have left, and follows after all.
        link = state.links.get(step.identifier.hash)
        if link is None or link.outcome != LEFT or not link.cause.startswith(BROUGHT):
            return Drop(Reason.ALREADY_ONE)
        return Accept(Reason.LINKED, links.settled(state, step.identifier.hash, LINKED))
    if to is not None and f"{BROUGHT}{state.alias_event}" == step.cause:
        after = changed(state, to=step.owner)
        told = (to_inbox(event.event_id, step.owner, event.profile_id, step),) if step.owner in state.mentions else ()
        return Accept(Reason.LINKED, after, told)
    own, forgotten = mentioned(state, step.owner, event.event_id, ctx.now_ms)
    gone = to_inbox(event.event_id, step.owner, event.profile_id,
                    replaced(step, kind=LinkKind.LEFT, claimed_by=to or ""))
    if own is state:
        return Forward(Reason.NOT_LINKED, gone)
    return Accept(Reason.NOT_LINKED, own, (gone, *forgotten))


def leads(state: Person, brought: Iterable[str], event_id: str, at_ms: int) -> tuple[Emit, ...]:
    """To identifiers that came with a profile: to follow this one directly from now on."""
    key = state.profile_id
    return tuple(
        to_inbox(event_id, beside(key, name), key, LinkStep(
            LinkKind.CLAIM, Identifier(link.type, name), key, at_ms, cause=f"{BROUGHT}{link.event_id}"))
        for name in brought if name != hash_of(key) and (link := state.links.get(name)) is not None
        and link.outcome in (LINKED, JOINED)
    )


def claim_id(event: InboxRecord) -> str:
    """Under which name a key remembers that it gave itself up for an event."""
    return f"{event.event_id}>"


def give_up(event: InboxRecord, step: LinkStep, state: Person | Redirect | None, ctx: Context) -> Accept:
    """Leave a redirect behind and send the state on, before any later record of the identifier can follow it.

    A redirect has no state left; it follows the claimant. The empty state still travels: it tells the claimant that the
    identifier is its own now, and coming home, that the aliases form a ring (see the router).
    """
    key, winner = event.profile_id, step.owner
    turned = None if state is None else state.rotation
    own = carrying_replies(state, ctx.beside) if isinstance(state, Person) else Person(profile_id=key, rotation=turned)
    place = (state.alias_clock if state is not None else 0) + 1
    sent = changed(own, profile_id=key, event_ids=remember_event(own, claim_id(event), ctx.now_ms),
                   alias_event=event.event_id, alias_at=place, alias_clock=place, given=None, forwarded={}, mentions={},
                   rotation=rotation.named(own, step.identifier), timers={})
    given = None if state is None else state.given
    if isinstance(state, Person):
        given = Given(winner, event.event_id, ctx.now_ms, sent)
    evidence = Link(step.identifier.type if links.is_of(step.identifier, key) else "", GIVEN_UP, event.event_id,
                    step.at_ms, ctx.now_ms, step.source)
    redirect = Redirect(
        profile_id=key, to=winner, alias_event=event.event_id, alias_at=place, alias_clock=place,
        forwarded=_answered(state, winner), links={hash_of(key): evidence}, given=given,
        event_ids=(state.event_ids if isinstance(state, Redirect) else NOTHING).after(claim_id(event), ctx.now_ms),
        mentions={} if state is None else state.mentions, rotation=turned,
        timers={} if given is None else {UNDO_TIMER: given.at_ms + rules_of(key, ctx).undo_ms},
    )
    emits = [Emit(PROFILE_INBOX, winner, InboxRecord(event.event_id, winner, key, merge=sent))]
    if isinstance(state, Redirect):
        left = replaced(step, kind=LinkKind.LEFT, owner=state.to, cause=ALIAS if step.explicit else LATER_LOGIN,
                        claimed_by=winner)
        emits.append(to_inbox(event.event_id, state.to, key, left))
        redirect, forgotten = mentioned(redirect, state.to, event.event_id, ctx.now_ms)
        emits += forgotten
    return Accept(Reason.FORWARDED, redirect, tuple(emits))


def _answered(state: Person | Redirect | None, winner: str) -> dict[str, str]:
    """Where retries of recent requests go: those that the key answered itself follow the answer."""
    if state is None:
        return {}
    kept = {**state.forwarded, **dict.fromkeys(state.requests if isinstance(state, Person) else (), winner)}
    return dict(list(kept.items())[-REQUESTS_MAX:])


def mentioned(state: _S, by: str, event_id: str, at_ms: int) -> tuple[_S, tuple[Emit, ...]]:
    """The identifier that knows of a profile with evidence about it that does not hold it; past the limit the oldest
    is asked to forget its evidence."""
    known = {**state.mentions, by: at_ms}
    if by == state.profile_id or by in state.mentions:
        return state, ()
    over = sorted(known, key=lambda key: (known[key], key))[:max(0, len(known) - MENTIONS_MAX)]
    for key in over:
        del known[key]
    return changed(state, mentions=known), forgets(state, over, event_id, at_ms)


def forgets(
    state: Person | Redirect, whom: Iterable[str], event_id: str, at_ms: int, named: Identifier | None = None
) -> tuple[Emit, ...]:
    """To keys that may name this one, by any of the hashes in `named`: that they are to do so no more."""
    one = named or links.identifier(state.profile_id, "", state)
    step = LinkStep(LinkKind.LEFT, one, "", at_ms, cause=ERASED)
    return tuple(to_inbox(event_id, key, state.profile_id, step) for key in whom)


def erased_beside(state: Person | Redirect, event_id: str, at_ms: int) -> tuple[Emit, ...]:
    """What an erasure says to keys that are not the subject's, but may name it: see `mentions`."""
    strangers = [beside(state.profile_id, name) for name, link in state.links.items() if link.outcome not in HELD]
    whom = dict.fromkeys((*state.mentions, *strangers))
    whom.pop(state.profile_id, None)
    # They may know the subject by any of its names: evidence came along as profiles became one.
    own = links.identifier(state.profile_id, "", state)
    names = dict.fromkeys((*own.earlier, *(name for name, link in state.links.items() if link.outcome in HELD),
                           *map(hash_of, state.merged if isinstance(state, Person) else ())))
    names.pop(own.hash, None)
    return forgets(state, whom, event_id, at_ms, Identifier("", own.hash, [*names]))


def not_held(event_id: str, owner: str, one: Identifier, at_ms: int, source: str, cause: str) -> Emit:
    """To an identifier that was left out: that a profile has evidence about it."""
    step = LinkStep(LinkKind.CLAIM, one, owner, at_ms, source, cause=cause or LIMITED)
    return to_inbox(event_id, key_of(tenant_of(owner), one), owner, step, one.earlier)


def offer_to_redirect(event: InboxRecord, step: LinkStep, redirect: Redirect, ctx: Context) -> Outcome:
    """The claimant belongs to another profile by now, which is asked instead."""
    return Forward(Reason.FORWARDED, to_inbox(event.event_id, redirect.to, event.from_subject, step))


def offer(event: InboxRecord, step: LinkStep, state: Person | None, ctx: Context) -> Outcome:
    """What a claimed profile would bring: within the limits it is accepted, else the claimed identifier is left out."""
    link = None if state is None else state.links.get(step.identifier.hash)
    if state is None or link is None or link.outcome != CLAIMED or event.from_subject == event.profile_id:
        return Drop(Reason.NOT_LINKED)
    own, claimed = hash_of(event.profile_id), step.identifier.hash
    # Offered again, by whom it belongs to now: what was to come with it before does not.
    state = links.released(state, claimed)
    more = [one for one in step.identifiers
            if one.hash != own and (one.hash not in state.links or state.links[one.hash].outcome not in HELD)]
    cause = links.why_not(state, rules_of(event.profile_id, ctx), more, ctx.now_ms, explicit=step.explicit)
    if cause:
        after = links.settled(state, claimed, LIMITED, cause)
        said = not_held(event.event_id, event.profile_id, step.identifier, step.at_ms, step.source, cause)
        return Accept(Reason.IDENTIFIER_LIMITED, after, (said,))
    after = links.reserved(state, more, claimed, event.event_id, step.at_ms, ctx.now_ms, step.source)
    accept = replaced(step, kind=LinkKind.ACCEPT, owner=event.profile_id)
    return Accept(Reason.LINKED, after, (to_inbox(event.event_id, event.from_subject, event.profile_id, accept),))


def accept_at_redirect(event: InboxRecord, step: LinkStep, redirect: Redirect, ctx: Context) -> Outcome:
    """The claimed identifier belongs to another profile by now: that one is claimed."""
    again = replaced(step, kind=LinkKind.CLAIM, identifiers=[])
    return Forward(Reason.FORWARDED, to_inbox(event.event_id, redirect.to, event.from_subject, again))


def accept(event: InboxRecord, step: LinkStep, state: Person | None, ctx: Context) -> Outcome:
    """The claimant has room: give up; offer again where more would come along by now."""
    if step.owner == event.profile_id:
        return Drop(Reason.ALREADY_ONE)
    if state is not None and claim_id(event) in state.event_ids:
        return Drop(Reason.DUPLICATE_EVENT)
    bring = _brought(event, step, state)
    if not {one.hash for one in bring} <= {one.hash for one in step.identifiers}:
        return _offered(event, step, bring)
    return give_up(event, step, state, ctx)


def _holds(state: Person, key: str) -> bool:
    link = state.links.get(hash_of(key)) if key else None
    return link is not None and link.outcome in HELD


def left_redirect(event: InboxRecord, step: LinkStep, redirect: Redirect, ctx: Context) -> Outcome:
    """An identifier left a profile that belongs to another one by now."""
    onward = to_inbox(event.event_id, redirect.to, event.from_subject, step)
    forgot = links.forgotten(redirect, step.identifier, event.from_subject) if step.cause == ERASED else redirect
    if forgot is not redirect:
        return Accept(Reason.RELEASED, forgot, (onward,))
    return Forward(Reason.FORWARDED, onward)


def left(event: InboxRecord, step: LinkStep, state: Person | None, ctx: Context) -> Outcome:
    """An identifier follows a later login, was let go or erased. Where this one's login is later still, claim it."""
    if step.cause == ERASED and state is not None:
        forgot = links.forgotten(state, step.identifier, event.from_subject)
        if forgot is not state:
            return Accept(Reason.RELEASED, forgot)
    link = None if state is None else state.links.get(step.identifier.hash)
    if state is None or link is None or link.outcome not in HELD:
        return Drop(Reason.NOT_LINKED)
    if step.cause.startswith(BROUGHT) and (
            step.cause != f"{BROUGHT}{link.event_id}" or _holds(state, step.claimed_by)):
        # It has come by another way since, or follows what this profile has.
        return Drop(Reason.ALREADY_ONE)
    if step.claimed_by and rotation.is_own(step.claimed_by, event.profile_id, state):
        # It was this profile's by way of another one, and claimed it is this profile's own.
        return Drop(Reason.ALREADY_ONE)
    if link.at_ms > step.at_ms and step.cause in (LATER_LOGIN, LOGOUT):
        again = LinkStep(LinkKind.CLAIM, Identifier(link.type, step.identifier.hash), event.profile_id, link.at_ms,
                         link.source)
        return Forward(Reason.LINKED, to_inbox(f"{event.event_id}<", event.from_subject, event.profile_id, again))
    return Accept(Reason.RELEASED, links.settled(state, step.identifier.hash, LEFT, step.cause))
