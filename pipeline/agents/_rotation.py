"""How what is kept under an earlier hash comes over to the present one, when the tenant's key was changed (docs/
adr/0017-key-rotation.md). Not an agent.

The present hash asks, and sends every record by way of the earlier one until the answer has come: so each is applied
behind the state that it is about.
"""

from __future__ import annotations

from pipeline.agents._apply import forget_the_given
from pipeline.agents._leasing import published
from pipeline.agents._links import give_up, to_inbox
from pipeline.agents._undo import refreshed
from pipeline.core.identity import erasure, links, rotation
from pipeline.core.keys import beside, hash_of
from pipeline.core.model.records import Identifier, IdentityKind, InboxRecord, LinkKind, LinkStep
from pipeline.core.model.values import replaced
from pipeline.core.sections.retries import NO_REPLIES
from pipeline.core.sections.section import changed
from pipeline.core.subject import Account, Erased, Person, Redirect, Subject, blank, carrying_replies
from pipeline.flow import Accept, Context, Drop, Emit, Forward, Outcome, Reason
from topics.catalog import PROFILE_INBOX


def elsewhere(record: InboxRecord, state: Subject | None) -> Outcome | None:
    """Where a record goes before its key may use it; None: it is used here and now."""
    key, known = record.profile_id, rotation.of(state)
    if known.successor:
        return Forward(Reason.FORWARDED, _sent_on(record, known.successor))
    if record.merge is not None and record.link is None:
        # A given-up state only adds to what is here; on a detour, what follows it could overtake it.
        return None
    missing = rotation.missing(key, record.earlier, known)
    if not missing:
        return None
    by_way_of = beside(key, missing[0])
    # It comes back from the earlier hash: a repeat of what an alias sent on before goes the same way.
    origin = by_way_of if record.from_subject == key else record.from_subject
    detour = Emit(PROFILE_INBOX, by_way_of, replaced(record, profile_id=by_way_of, from_subject=origin))
    new = [name for name in missing if name not in known.taking]
    if not new:
        return Forward(Reason.FORWARDED, detour)
    return Accept(Reason.FORWARDED, rotation.asking(state, key, new),
                  (*(_asked(record.event_id, beside(key, name), key) for name in new), detour))


def step(event: InboxRecord, asked: LinkStep, state: Subject | None, ctx: Context) -> Outcome:
    """A step of `routing.ROTATION_STEPS`."""
    if asked.kind is LinkKind.TAKE_OVER:
        return _take_over(event, asked, state, ctx)
    if asked.kind is LinkKind.FENCE:
        return _fence(event, asked, state)
    given = event.merge if isinstance(event.merge, Subject) else blank(event.from_subject)
    return _taken_over(event, asked, given, state, ctx)


def _take_over(event: InboxRecord, step: LinkStep, state: Subject | None, ctx: Context) -> Outcome:
    """Asked to come over to the key of a newer hash; or the question came back, as its hash leads here already.

    Where each of two keys asks the other, by settings that list the keys in different orders, the lesser one stays.
    """
    key, known = event.profile_id, rotation.of(state)
    if known.successor:
        return Forward(Reason.FORWARDED, _sent_on(event, known.successor))
    if state is not None and rotation.is_own(step.owner, key, state):
        if step.identifier.hash not in known.taking:
            return Drop(Reason.ALREADY_ONE)
        return Accept(Reason.LINKED, rotation.led_here(state, step.identifier.hash, ctx.now_ms))
    if known.taking and key < step.owner:
        asker = hash_of(step.owner)
        if asker in known.taking:
            return Drop(Reason.ALREADY_ONE)
        asks = _asked(event.event_id, step.owner, key)
        return Accept(Reason.FORWARDED, rotation.asking(state, key, (asker,)), (asks,))
    if isinstance(state, Redirect) and step.cause != state.alias_event:
        fence = replaced(step, kind=LinkKind.FENCE, identifier=Identifier("", hash_of(key)), cause=state.alias_event,
                        identifiers=[step.identifier])
        return Forward(Reason.FORWARDED, to_inbox(event.event_id, state.to, key, fence))
    over = replaced(step, kind=LinkKind.HAND_OVER)
    given = carrying_replies(state, ctx.beside) if isinstance(state, Person) else state or blank(key)
    return Accept(Reason.FORWARDED, rotation.redirect(key, step.owner, state), (
        Emit(PROFILE_INBOX, step.owner, InboxRecord(event.event_id, step.owner, key, merge=given, link=over)),))


def _fence(event: InboxRecord, step: LinkStep, state: Subject | None) -> Outcome:
    """Whoever is no alias has all that the asked one gave up: it may be handed over."""
    if isinstance(state, Redirect):
        onward = replaced(event, profile_id=state.to)
        return Forward(Reason.FORWARDED, Emit(PROFILE_INBOX, onward.profile_id, onward))
    asked = beside(event.profile_id, step.identifier.hash)
    again = replaced(step, kind=LinkKind.TAKE_OVER, identifier=step.identifiers[0], identifiers=[])
    return Forward(Reason.FORWARDED, to_inbox(event.event_id, asked, event.profile_id, again))


def _taken_over(event: InboxRecord, step: LinkStep, given: Subject, state: Subject | None, ctx: Context) -> Outcome:
    """What was kept under an earlier hash is here: it goes on as if it had always been."""
    key, known, name = event.profile_id, rotation.of(state), step.identifier.hash
    if known.successor:
        return Forward(Reason.FORWARDED, _sent_on(event, known.successor))
    if name not in known.taking:
        return Drop(Reason.DUPLICATE_EVENT)
    after = rotation.arrived(state, given, key, name, ctx.now_ms)
    if state is not None and not rotation.is_blank(state):
        if erasure.erased_at_ms(after) is not None:
            # Under one of the two keys the subject was erased: so what the other one kept goes the same way.
            return Accept(Reason.TAKEN_OVER, after, forget_the_given(event, given).emits)
        if isinstance(given, Erased):
            parts = forget_the_given(event, after).emits
            return Accept(Reason.TAKEN_OVER, erasure.erased(key, given.at_ms, after), parts, NO_REPLIES)
    if isinstance(after, Account):
        if isinstance(given, Account) and not rotation.is_blank(state) and not rotation.is_blank(given):
            after = rotation.joined(after, given, ctx.now_ms)
            after = changed(after, version=after.version + 1)
        return Accept(Reason.TAKEN_OVER, after, published(after, ctx.now_ms))
    if rotation.is_blank(state) or rotation.is_blank(given):
        return Accept(Reason.TAKEN_OVER, after)
    return _beside(event, given, after, ctx)


def _beside(event: InboxRecord, given: Subject, own: Subject, ctx: Context) -> Outcome:
    """Something was kept under both: by an endpoint that did not know the earlier key, or knew it in another order."""
    key = event.profile_id
    if isinstance(own, Person) and isinstance(given, Person):
        return refreshed(Reason.TAKEN_OVER, event, rotation.joined(own, given, ctx.now_ms), ctx, ())
    if isinstance(own, Person) and isinstance(given, Redirect):
        belongs = LinkStep(LinkKind.CLAIM, links.identifier(key, "", own), given.to, ctx.now_ms, explicit=True)
        outcome = give_up(event, belongs, own, ctx)
        return Accept(Reason.TAKEN_OVER, outcome.state, outcome.emits)
    if isinstance(own, Redirect) and isinstance(given, Person):
        sent = changed(rotation.renamed(given, key), alias_event="", given=None)
        return Accept(Reason.TAKEN_OVER, own, (
            Emit(PROFILE_INBOX, own.to, InboxRecord(event.event_id, own.to, key, merge=sent)),))
    return Accept(Reason.TAKEN_OVER, own)


def known_as(
    event: InboxRecord, step: LinkStep, state: Subject | None
) -> tuple[InboxRecord, LinkStep, Subject | None]:
    """The step with names from before a change of the key as they are now, here and in the profile's links."""
    key = event.profile_id
    if rotation.of(state).taken:
        if rotation.is_own(event.from_subject, key, state):
            event = replaced(event, from_subject=key)
        if rotation.is_own(step.owner, key, state):
            step = replaced(step, owner=key)
        if rotation.is_own(beside(key, step.identifier.hash), key, state):
            step = replaced(step, identifier=links.identifier(key, step.identifier.type, state))
    return event, step, links.known_as(state, step.identifier) if isinstance(state, Person | Redirect) else state


def _sent_on(record: InboxRecord, to: str) -> Emit:
    """To the key that took this one over; a state on its way back to this one belongs to that one now."""
    key, given = record.profile_id, record.merge
    if isinstance(given, Subject) and given.profile_id == key:
        origin = to if record.from_subject == key else record.from_subject
        record = replaced(record, merge=rotation.renamed(given, to), from_subject=origin)
    identity = record.identity
    if identity is not None and identity.kind is IdentityKind.ALIAS and identity.subject == key:
        record = replaced(record, identity=replaced(identity, subject=to))
    return Emit(PROFILE_INBOX, to, replaced(record, profile_id=to))


def _asked(event_id: str, earlier: str, key: str) -> Emit:
    step = LinkStep(LinkKind.TAKE_OVER, Identifier("", hash_of(earlier)), key, 0)
    return Emit(PROFILE_INBOX, earlier, InboxRecord(event_id, earlier, key, link=step))
