"""How an account and its members' decisions speak to each other, through the inbox: ask, lease, settle. Not an agent.

Every lease is settled once: by the decision that spent it, or by whoever finds that it is no longer wanted.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.core.decide import leasing
from pipeline.core.identity import rotation
from pipeline.core.keys import beside, is_account, tenant_of
from pipeline.core.model import records
from pipeline.core.model.records import DecisionRequest, InboxRecord, Lease, Scalar, Settlement
from pipeline.core.model.values import replaced
from pipeline.core.sections.section import changed
from pipeline.core.subject import Account, remember_event
from pipeline.flow import Accept, Context, DeadLetter, Drop, Emit, Outcome, Reason
from topics.catalog import ACCOUNTS, PROFILE_INBOX


def asked(
    request: DecisionRequest, profile_id: str, decision_id: str, lease: Lease, earlier: Sequence[str] = ()
) -> Emit:
    """The question to the account; what it leases comes back with the request. `earlier`: as the member knows it."""
    attempt = f"{request.reply_partition}.{request.deadline_ms}.{lease.trips}"
    record = InboxRecord(f"ask-{decision_id}-{attempt}", lease.account, profile_id, request=request, lease=lease,
                         earlier=[*earlier])
    return Emit(PROFILE_INBOX, lease.account, record)


def settlement(
    account: str, lease: Lease | None, event_id: str, profile_id: str, at_ms: int, spent: dict[str, int],
    earlier: Sequence[str] = (),
) -> tuple[Emit, ...]:
    """What ends a lease, or tells the account what was counted without one; nothing where there is nothing to tell."""
    if not spent and (lease is None or not any(lease.leased.values())):
        return ()
    end = Settlement(lease.lease_id if lease is not None else "", at_ms, spent)
    record = InboxRecord(f"settle-{event_id}", account, profile_id, settled=end, earlier=[*earlier])
    return (Emit(PROFILE_INBOX, account, record),)


def given_back(lease: Lease | None, profile_id: str, now_ms: int) -> tuple[Emit, ...]:
    """The end of a lease of which nothing was spent."""
    if lease is None:
        return ()
    return settlement(lease.account, lease, lease.lease_id, profile_id, now_ms, {})


def serve(event: InboxRecord, state: Account | None, ctx: Context) -> Outcome:
    """The account's side: lease to a decision, or take its settlement."""
    account = state or Account(profile_id=event.profile_id)
    if event.event_id in account.event_ids:
        return Drop(Reason.DUPLICATE_EVENT)
    live = ctx.live(tenant_of(event.profile_id))
    limits = live.caps if live is not None else {}
    if event.settled is not None:
        after = leasing.settled(account, event.settled, limits, ctx.now_ms)
        return Accept(Reason.SETTLED, changed(after, event_ids=remember_event(account, event.event_id, ctx.now_ms)))
    if event.request is None or event.lease is None:
        return DeadLetter(Reason.INVALID, "an account's inbox takes leases that are asked for, and their settlements")
    after, lease = leasing.leased(account, event.lease, limits, ctx.now_ms)
    back = replaced(event, event_id=f"{lease.lease_id}.{lease.trips}", profile_id=event.from_subject,
                   from_subject=event.profile_id, lease=lease, earlier=[])
    return Accept(Reason.LEASED, changed(after, event_ids=remember_event(account, event.event_id, ctx.now_ms)),
                  (Emit(PROFILE_INBOX, back.profile_id, back),))


def published(account: Account, now_ms: int) -> tuple[Emit, ...]:
    """An account as its members' decisions are to know it, under each of its keys; nothing before anything is known."""
    key = account.profile_id
    if not account.version:
        return ()
    known: dict[str, Scalar] = {name: trait.value for name, trait in account.traits.items() if trait.value is not None}
    return tuple(
        Emit(ACCOUNTS, name, records.Account(name, account.version, now_ms, known, list(account.consent.values())))
        for name in (key, *(beside(key, earlier) for earlier in rotation.of(account).taken))
    )


def no_person(key: str) -> DeadLetter | None:
    """What becomes of a record that takes an account for a person."""
    if not is_account(key):
        return None
    return DeadLetter(Reason.INVALID, "the subject is an account: events and decisions are its members'")
