"""Accounts in the whole pipeline in memory: joined, read by rules, asked for consent, capped over all their members."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline.core import subject
from pipeline.core.decide import leasing
from pipeline.core.decide.replay import decided_again, differences
from pipeline.core.model.definitions import Cap
from pipeline.core.model.records import (
    AuditRecord,
    ConsentGrant,
    Decision,
    DecisionReply,
    IdentityEvent,
    IdentityKind,
    Lease,
    Membership,
    Settlement,
)
from pipeline.core.model.values import replaced
from pipeline.core.model.windows import Rolling
from pipeline.policy.load import PolicyError
from pipeline.ports import Outbound
from pipeline.runtime.memory import CrashError, MemoryPipeline
from pipeline.topology import FLOWS
from tests.support import shop
from topics.catalog import (
    ACCOUNTS,
    BY_NAME,
    DEAD_LETTERS,
    DECISION_AUDIT,
    DECISION_REPLIES,
    DECISION_REQUESTS,
    DECISIONS,
    IDENTITY_EVENTS,
    SEGMENT_CHANGES,
)

DAY_MS = 86_400_000
ACME = "shop/@acme"
CHANGES = {
    "  candidate:\n": "  account:\n    plan: string\n    contract_ends: timestamp\n  candidate:\n",
    "what we know}": "what we know, contact: Write to the firm}",
    "channels:\n": "channels:\n  email: {purposes: personalization, account_purposes: contact}\n",
    "[web]": "[web, email]",
    "caps:\n": "caps:\n"
               "  account_week: {of: account, count: decision, per: all, limit: 3, window: 7d, for: {tag: sales}}\n",
    "  keen:": "  enterprise: {rule: account.plan == \"enterprise\" && membership.role == \"buyer\"}\n  keen:",
}
POLICY = shop.POLICY + """
  renewal:
    kind: offer
    placements: [hero]
    priority: 90
    tags: [sales]
    eligibility: account.contract_ends > now
    variants: {default: {content: {title: Renew}}}
"""
for before, after in CHANGES.items():
    POLICY = POLICY.replace(before, after, 1)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Outbound, ...]:
    return shop.publication(tmp_path_factory.mktemp("policy"), POLICY)


class Shop:
    """A pipeline with an account and members who agreed to be tracked."""

    def __init__(self, published: tuple[Outbound, ...], members: int = 5) -> None:
        self.pipeline = MemoryPipeline(FLOWS)
        self.serial = 0
        for record in published:
            self.pipeline.send(BY_NAME[record.topic], record.key, record.value)
        self.members = [f"shop/m{number}" for number in range(members)]
        for member in self.members:
            self.pipeline.send(IDENTITY_EVENTS, member, shop.consent(member, self.now_ms))
            self.joins(member)
        self.says(traits={"plan": "free", "contract_ends": "2099-01-01T00:00:00Z"})

    @property
    def now_ms(self) -> int:
        return self.pipeline.clock.at_ms

    def send(self, subject: str, kind: IdentityKind, **more: Any) -> None:
        self.serial += 1
        event = IdentityEvent(f"e{self.serial}", subject, kind, self.now_ms + self.serial, **more)
        self.pipeline.send(IDENTITY_EVENTS, subject, event)

    def says(self, account: str = ACME, **more: Any) -> None:
        self.pipeline.clock.at_ms += 1_000
        self.send(account, IdentityKind.TRAITS, **more)
        self.pipeline.run()

    def joins(self, member: str, account: str = ACME, **more: Any) -> None:
        self.pipeline.clock.at_ms += 1_000
        self.send(member, IdentityKind.GROUP, membership=Membership(account, **{"roles": ["buyer"], **more}))
        self.pipeline.run()

    def puts(self, member: str, request_id: str = "", **more: Any) -> str:
        """Send a request; it is not worked on yet."""
        self.serial += 1
        name = request_id or f"r{self.serial}"
        self.pipeline.send(DECISION_REQUESTS, member, shop.request(name, member, **more))
        return name

    def asks(self, member: str, **more: Any) -> str:
        name = self.puts(member, **more)
        self.pipeline.run()
        reply = self.reply(name)
        return f"{reply.decisions[0].item_id} ({reply.reason})" if reply.fallback else reply.decisions[0].item_id

    def reply(self, name: str) -> DecisionReply:
        replies: list[DecisionReply] = self.pipeline.values(DECISION_REPLIES)
        return next(one for one in reversed(replies) if one.request_id == name)

    def sold(self) -> list[Decision]:
        return [one for one in self.pipeline.values(DECISIONS) if one.decisions[0].item_id == "renewal"]

    def held(self) -> Mapping[str, int]:
        return self.pipeline.state(ACME).counters["account_week|"].held  # type: ignore[no-any-return]


def test_rules_read_the_account_and_the_role_and_what_changes_counts_at_the_next_decision(published: Any) -> None:
    firm = Shop(published, 2)
    ann, ben = firm.members
    firm.asks(ann)
    assert "enterprise" not in firm.pipeline.state(ann).segments
    firm.says(traits={"plan": "enterprise"})
    firm.asks(ann)
    assert "enterprise" in firm.pipeline.state(ann).segments, "a member's next decision sees it"
    change = firm.pipeline.values(SEGMENT_CHANGES)[-1]
    assert (change.profile_id, change.segment, change.entered) == (ann, "enterprise", True)
    firm.joins(ben, roles=["guest"])
    firm.asks(ben)
    assert "enterprise" not in firm.pipeline.state(ben).segments
    firm.says(traits={"contract_ends": "2001-01-01T00:00:00Z"})
    assert firm.asks(ann) == "upgrade"
    firm.says(traits={"contract_ends": 17.5})
    assert firm.asks(ann) == "upgrade", "what does not fit its declared type is unknown, and unknown is never true"
    audit: AuditRecord = [one for one in firm.pipeline.values(DECISION_AUDIT) if one.profile_id == ann][-1]
    assert {one.item_id: one.outcome for one in audit.candidates}["renewal"] == "unknown:account.contract_ends"
    assert audit.account is not None and audit.account.account_id == ACME
    assert audit.account.traits["plan"] == "enterprise"
    assert [one.version for one in firm.pipeline.values(ACCOUNTS)] == [1, 2, 3, 4]


def test_of_several_accounts_the_primary_counts_until_it_is_left(published: Any) -> None:
    firm = Shop(published, 1)
    [ann] = firm.members
    firm.says("shop/@other", traits={"plan": "enterprise"})
    firm.joins(ann, primary=True)
    firm.joins(ann, "shop/@other")
    firm.asks(ann)
    assert "enterprise" not in firm.pipeline.state(ann).segments
    firm.joins(ann, left=True)
    firm.asks(ann)
    assert "enterprise" in firm.pipeline.state(ann).segments
    firm.joins(ann, "shop/@other", left=True)
    firm.asks(ann)
    assert "enterprise" not in firm.pipeline.state(ann).segments


def test_to_be_named_again_without_roles_takes_none_away(published: Any) -> None:
    firm = Shop(published, 1)
    [ann] = firm.members
    firm.joins(ann, roles=["admin", "buyer"])
    firm.joins(ann, roles=[])
    assert firm.pipeline.state(ann).accounts[ACME].roles == ("admin", "buyer")
    firm.joins(ann, left=True, roles=[])
    firm.joins(ann, roles=[])
    assert firm.pipeline.state(ann).accounts[ACME].roles == ()


def test_memberships_come_along_with_a_merge(published: Any) -> None:
    firm = Shop(published, 1)
    [ann] = firm.members
    firm.pipeline.send(IDENTITY_EVENTS, ann, shop.alias(ann, "shop/ann", firm.now_ms))
    firm.pipeline.run()
    assert list(firm.pipeline.state("shop/ann").accounts) == [ACME]


def test_nobody_leaves_an_accounts_segment_by_a_merge_or_its_undo(published: Any) -> None:
    firm = Shop(published, 1)
    [ann] = firm.members
    firm.says(traits={"plan": "enterprise"})
    assert firm.asks(ann) and "enterprise" in firm.pipeline.state(ann).segments
    before = len(firm.pipeline.values(SEGMENT_CHANGES))
    firm.pipeline.send(IDENTITY_EVENTS, "shop/device", shop.consent("shop/device", firm.now_ms))
    firm.send("shop/device", IdentityKind.ALIAS, alias_of=ann)
    firm.pipeline.run()
    assert "shop/device" in firm.pipeline.state(ann).merged
    firm.send("shop/device", IdentityKind.UNMERGE)
    firm.pipeline.run()
    assert firm.pipeline.state(ann).merged == {} and "enterprise" in firm.pipeline.state(ann).segments
    told = [one.segment for one in firm.pipeline.values(SEGMENT_CHANGES)[before:] if one.profile_id == ann]
    assert "enterprise" not in told


def test_an_account_must_agree_to_be_written_to_beside_its_member(published: Any) -> None:
    firm = Shop(published, 1)
    [ann] = firm.members
    assert firm.asks(ann, channel="email") == "welcome (no_consent)"
    firm.says(consent=[ConsentGrant("contact", True, firm.now_ms)])
    assert firm.asks(ann, channel="email") == "renewal"
    firm.says(consent=[ConsentGrant("contact", False, firm.now_ms, "email")])
    assert firm.asks(ann, channel="email") == "welcome (no_consent)"
    assert '"account":"shop/@acme"' in firm.pipeline.values(DECISION_AUDIT)[-1].consent
    firm.joins(ann, left=True)
    assert firm.asks(ann, channel="email") == "upgrade", "who belongs to no account is asked alone"


def test_a_cap_holds_over_all_members_and_frees_up_as_its_window_moves(published: Any) -> None:
    firm = Shop(published)
    said = [firm.asks(member) for member in firm.members]
    assert said == ["renewal", "renewal", "renewal", "upgrade", "upgrade"]
    audit: AuditRecord = firm.pipeline.values(DECISION_AUDIT)[-1]
    capped = next(one for one in (a for a in firm.pipeline.values(DECISION_AUDIT)) for one in one.candidates
                  if one.outcome == "capped")
    assert capped.clause == "at most 3 decision per all over all members of the account in 7d"
    assert capped.values["used"] == "3" and capped.values["account"] == f'"{ACME}"'
    assert audit.engine and firm.held() == {}
    firm.pipeline.clock.at_ms += 7 * DAY_MS
    assert firm.asks(firm.members[4]) == "renewal"


def test_who_has_no_account_and_what_has_no_cap_takes_no_longer_way(published: Any) -> None:
    firm = Shop(published, 1)
    firm.pipeline.send(IDENTITY_EVENTS, "shop/solo", shop.consent("shop/solo", firm.now_ms))
    firm.asks("shop/solo")
    assert firm.pipeline.logs.get("profile.inbox") is None
    firm.says(traits={"contract_ends": "2001-01-01T00:00:00Z"})
    firm.asks(firm.members[0])
    assert firm.pipeline.logs.get("profile.inbox") is None, "nothing capped was to be shown: nobody was asked"


def test_all_members_at_once_never_pass_the_cap_and_the_unused_is_given_back(published: Any) -> None:
    firm = Shop(published)
    for member in firm.members:
        firm.puts(member)
        firm.puts(member)
    firm.pipeline.run()
    assert len(firm.sold()) == 3
    assert firm.held() == {}


def test_nobody_waits_any_more_and_the_place_is_free_again(published: Any) -> None:
    firm = Shop(published, 1)
    [ann] = firm.members
    sent = []
    send = firm.pipeline._append

    def late(out: Outbound, key: Any) -> int:
        """What comes back from the account comes after the deadline."""
        if out.key == ann.encode() and out.topic == "profile.inbox":
            firm.pipeline.clock.at_ms += 500
            sent.append(out)
        return send(out, key)

    firm.pipeline._append = late  # type: ignore[method-assign, assignment]
    firm.puts(ann, deadline_ms=firm.now_ms + 150)
    firm.pipeline.run()
    assert sent and not firm.sold() and firm.held() == {}
    assert firm.asks(ann) == "renewal"


def test_a_retry_while_the_account_is_asked_gets_the_same_answer_and_takes_one_place(published: Any) -> None:
    firm = Shop(published, 2)
    for _ in range(3):
        firm.puts(firm.members[0], "same")
    firm.pipeline.run()
    assert len({one.decision_id for one in firm.sold()}) == len(firm.sold()) == 1
    assert firm.held() == {} and firm.pipeline.state(ACME).counters["account_week|"].total == 1


def test_a_decision_replays_from_its_audit_with_account_and_lease(published: Any) -> None:
    firm = Shop(published, 2)
    firm.asks(firm.members[0])
    audit: AuditRecord = firm.pipeline.values(DECISION_AUDIT)[-1]
    live = firm.pipeline.directory.live("shop")
    assert live is not None and audit.account is not None and audit.lease is not None
    firm.says(traits={"plan": "gone", "contract_ends": "2001-01-01T00:00:00Z"})
    assert differences(audit, decided_again(audit, live)) == []


def test_a_crash_between_any_two_effects_neither_passes_the_cap_nor_loses_a_place(published: Any) -> None:
    firm = Shop(published, 3)
    for member in firm.members:
        firm.puts(member)
        firm.puts(member)
    began = firm.pipeline.effects
    firm.pipeline.run()
    effects = firm.pipeline.effects - began
    for crash in range(effects):
        firm = Shop(published, 3)
        for member in firm.members:
            firm.puts(member)
            firm.puts(member)
        firm.pipeline.crash_after = firm.pipeline.effects + crash
        with pytest.raises(CrashError):
            firm.pipeline.run()
        firm.pipeline.crash_after = None
        firm.pipeline.restart()
        firm.pipeline.run()
        assert len({one.decision_id for one in firm.sold()}) == 3, crash
        assert firm.held() == {}, crash


def test_a_lease_that_is_never_settled_counts_as_spent() -> None:
    limits = {"c": Cap("c", "decision", "all", Rolling(7 * DAY_MS), 2, of_account=True)}
    account, first = leasing.leased(subject.Account(profile_id=ACME), Lease(ACME, 1, wanted={"c|": 1}), limits, 0)
    account, other = leasing.leased(account, Lease(ACME, 1, wanted={"c|": 2}), limits, 1)
    assert (first.leased, other.leased) == ({"c|": 1}, {"c|": 1})
    account = leasing.settled(account, Settlement(other.lease_id, 2), limits, 2)
    account, again = leasing.leased(account, Lease(ACME, 1, wanted={"c|": 2}), limits, 2 * DAY_MS)
    assert again.leased == {"c|": 1}, "the first one's day is over: it is a count now"
    assert not leasing.spendable(first, DAY_MS)
    account = leasing.settled(account, Settlement(again.lease_id, 2 * DAY_MS), limits, 2 * DAY_MS)
    assert leasing.leased(account, Lease(ACME, 1, wanted={"c|": 2}), limits, 8 * DAY_MS)[1].leased == {"c|": 2}


def test_an_account_is_no_person(published: Any) -> None:
    firm = Shop(published, 1)
    firm.puts(ACME)
    firm.pipeline.send(IDENTITY_EVENTS, firm.members[0], shop.alias(firm.members[0], ACME, firm.now_ms))
    firm.pipeline.run()
    assert [one.reason for one in firm.pipeline.values(DEAD_LETTERS)] == ["invalid", "invalid"]


def test_what_an_account_s_cap_cannot_be_is_said_before_it_is_published(tmp_path: Path) -> None:
    wrong = POLICY.replace("account, count: decision", "account, count: impression").replace(
        "window: 7d, for", "window: {calendar: week, zone: subject}, for").replace("account.plan ==", "account.plam ==")
    with pytest.raises(PolicyError) as caught:
        shop.publication(tmp_path, wrong)
    said = " ".join(map(str, caught.value.findings))
    assert "counts decisions" in said and "no zone of its own" in said and "account.plan" in said


def test_a_golden_decision_may_be_about_a_member_of_an_account(tmp_path: Path) -> None:
    golden = """
golden:
  buyer:
    {at: 2026-01-31T08:00:00Z, channel: email, placement: hero, consent: personalization, account_consent: contact,
     account: {plan: enterprise, contract_ends: 2027-01-31T00:00:00Z}, roles: buyer, expect: renewal}
"""
    assert shop.publication(tmp_path / "right", POLICY + golden)
    with pytest.raises(PolicyError) as caught:
        shop.publication(tmp_path / "wrong", POLICY + golden.replace("2027-01-31", "2025-01-31"))
    assert "expected renewal but decided upgrade" in str(caught.value.findings[0])
    with pytest.raises(PolicyError) as caught:
        shop.publication(tmp_path / "names", POLICY + golden.replace("{plan:", "{plam:"))
    assert "'plan'" in str(caught.value.findings[0])


def test_a_cap_holds_over_all_members_while_the_key_of_the_hashes_is_changed(published: Any) -> None:
    firm = Shop(published)
    ann, ben, cid, dan, eve = firm.members
    assert firm.asks(ann) == "renewal"
    later = replaced(Membership("shop/@acme-2", ["buyer"]), earlier=["@acme"])
    firm.send(ben, IdentityKind.GROUP, membership=later)
    firm.pipeline.run()
    assert firm.asks(ben) == "renewal", "the account is known by its earlier key before it has come over"
    # Two who know it by different keys, at once: one place is left.
    firm.send(cid, IdentityKind.GROUP, membership=later)
    names = [firm.puts(cid), firm.puts(dan)]
    firm.pipeline.run()
    assert sorted(firm.reply(name).decisions[0].item_id for name in names) == ["renewal", "upgrade"]
    assert firm.asks(eve) == "upgrade" and len(firm.sold()) == 3
    account = firm.pipeline.state("shop/@acme-2")
    assert account.counters["account_week|"].total == 3 and not account.counters["account_week|"].held
    firm.says("shop/@acme-2", traits={"plan": "enterprise"})
    for member in (ann, ben):
        firm.asks(member)
        assert "enterprise" in firm.pipeline.state(member).segments, "whichever key the member knows it by"
