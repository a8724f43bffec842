"""What may stop a candidate, one gate after the other; the first that does is recorded with what it saw."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, tzinfo
from typing import Any, Final

from pipeline.core.decide import caps
from pipeline.core.decide import experiments as trial
from pipeline.core.decide.live import Candidate, Live, Slot
from pipeline.core.features.reading import Reader
from pipeline.core.model.definitions import (
    Cap,
    CapUse,
    Channel,
    Experiment,
    Holdout,
    Item,
    Placement,
    Variation,
)
from pipeline.core.model.moments import local_time_ms, moment
from pipeline.core.model.records import CandidateAudit, DecisionRequest, Lease, ModelUse
from pipeline.core.model.values import Working, value_field
from pipeline.core.model.windows import Window
from pipeline.core.rules import facts as fact
from pipeline.core.rules.rule import Rule, Stop, encode_json, stop_of
from pipeline.core.sections.counters import Counter
from pipeline.core.sections.sessions import Session
from pipeline.core.sections.timestamps import TIMESTAMPS_MAX
from pipeline.core.subject import Person, lasting_name

#: How often a decision asks its account: each time for what it would take after the answer before.
TRIPS_MAX: Final = 3

_UNASKED: Final = Stop("", {})


class DecisionContext(Working):
    """One request being decided: the arguments and what was worked out once. Never outlives the call."""

    request: DecisionRequest
    decision_id: str
    live: Live
    profile: Person
    now_ms: int
    facts: dict[str, Any]
    channel: Channel
    #: By channel: the sessions, the one in which it is asked included.
    sessions: dict[str, Session]
    #: Outcomes of rules that do not look at the item, by identity; of one placement.
    judged: dict[int, Stop | None] = value_field(default_factory=dict)
    #: Places taken, by counter key; counters changed by this request; where windows began, by cap.
    taken: dict[str, int] = value_field(default_factory=dict)
    spent: dict[str, Counter] = value_field(default_factory=dict)
    #: Counters that may have no room left; all others have some.
    tight: set[str] = value_field(default_factory=set)
    starts: dict[str, int] = value_field(default_factory=dict)
    #: When windows that go by the clock end, by identity.
    ends: dict[int, int | None] = value_field(default_factory=dict)
    arms: dict[str, Variation | None] = value_field(default_factory=dict)
    held: dict[str, bool] = value_field(default_factory=dict)
    audits: list[CandidateAudit] = value_field(default_factory=list)
    shown: set[str] = value_field(default_factory=set)
    #: Experiment → arm, for those that had something to decide.
    exposed: dict[str, str] = value_field(default_factory=dict)
    #: The subject's account, what it leased to this decision, and the places of its caps taken, by counter key.
    account_key: str = ""
    lease: Lease | None = None
    borrowed: dict[str, int] = value_field(default_factory=dict)
    #: The same of items that pass these caps by and are counted only.
    bypassed: dict[str, int] = value_field(default_factory=dict)
    #: By placement: the learning model that filled it.
    models: dict[str, ModelUse] = value_field(default_factory=dict)
    _zone: tzinfo | None = None
    #: What reads the features of items, and the facts of those that were looked at, by id.
    _reading: Reader | None = None
    _items: dict[str, dict[str, Any]] = value_field(default_factory=dict)

    @property
    def zone(self) -> tzinfo:
        """The subject's zone, looked up when first needed."""
        if self._zone is None:
            self._zone = fact.zone_of(self.profile, self.live.policy)[1]
        return self._zone

    def of(self, item: Item) -> Mapping[str, Any]:
        """The item's facts, with the features of this subject and item."""
        policy = self.live.policy
        if not policy.item_features:
            return item.facts
        if item.id not in self._items:
            self._reading = self._reading or fact.reader(self.profile, policy, self.now_ms)
            self._items[item.id] = fact.of_item(self._reading, policy, item)
        return self._items[item.id]

    def judge(self, rule: Rule, item: Item) -> Stop | None:
        """Why a rule stops the item; a rule that does not look at it is asked once per placement."""
        if rule.of_candidate:
            return stop_of(rule, self.facts, self.of(item))
        key = id(rule)
        if key not in self.judged:
            self.judged[key] = stop_of(rule, self.facts, item.facts)
        return self.judged[key]

    def counter(self, key: str) -> Counter | None:
        """A counter as this request has left it so far."""
        return self.spent.get(key) or self.profile.counters.get(key)

    def look_at_caps(self, keys: frozenset[str]) -> None:
        """Find the counters among these that would lack room if all they hold were in the window."""
        limits, counters = self.live.caps, self.profile.counters
        for key in keys & counters.keys():
            cap = limits[key.partition("|")[0]]
            if caps.holds(cap, counters[key]) + cap.weight_max > cap.limit:
                self.tight.add(key)
        self.tight |= keys & self.live.barred

    def end_ms(self, window: Window) -> int | None:
        """When what is counted now in a window stops counting."""
        if id(window) not in self.ends:
            zone = self.zone if window.local else UTC
            self.ends[id(window)] = window.end_ms(self.now_ms, zone, self.channel.session_ms)
        return self.ends[id(window)]

    def spend(self, uses: Iterable[CapUse], holder: str, until_ms: int) -> None:
        """Count a decision where decisions count; where their events do, hold a place until then."""
        spent, counters, now_ms = self.spent, self.profile.counters, self.now_ms
        merges = len(self.profile.merged)
        for use in uses:
            key = use.key
            counter = spent.get(key) or counters.get(key)
            if use.cap.reserves:
                counter = caps.reserved(counter, holder, until_ms, now_ms)
            else:
                counter = caps.counted(counter, now_ms, use.weight, min(use.kept * (1 + merges), TIMESTAMPS_MAX))
            spent[key] = counter
            self.taken.pop(key, None)
            if caps.holds(use.cap, counter) > use.roomy:
                self.tight.add(key)

    def used(self, cap: Cap, key: str) -> int:
        """Places of a cap taken now."""
        taken = self.taken.get(key)
        if taken is None:
            counter = self.counter(key)
            taken = 0
            if counter is not None:
                start = self.starts.get(cap.id)
                if start is None:
                    zone = self.zone if cap.window.local else UTC
                    start = self.starts[cap.id] = cap.window.start_ms(
                        self.now_ms, zone, self.sessions[self.channel.id].start_ms)
                taken = caps.taken(cap, counter, start, self.now_ms)
            self.taken[key] = taken
        return taken

    def leased(self, key: str) -> int | None:
        """Places of an account's counter that this decision may take; None: the account can still be asked."""
        lease = self.lease
        if lease is None:
            return None
        return lease.leased.get(key, 0 if lease.trips >= TRIPS_MAX else None)

    def asks(self) -> dict[str, int]:
        """Places taken of counters that the account was not asked about yet."""
        return {key: taken for key, taken in self.borrowed.items() if self.leased(key) is None}

    def counted(self) -> dict[str, int]:
        """What the account counts of this decision."""
        return {key: self.borrowed.get(key, 0) + self.bypassed.get(key, 0)
                for key in (self.borrowed | self.bypassed)}

    def arm(self, experiment: Experiment) -> Variation | None:
        """The subject's arm in an experiment, worked out once."""
        if experiment.id not in self.arms:
            self.arms[experiment.id] = trial.assigned(
                experiment, lasting_name(self.profile), self.facts, self.profile.assignments, self.now_ms)
        return self.arms[experiment.id]

    def expose(self, experiments: Iterable[Experiment]) -> None:
        """Note the subject's arms in experiments that had something to decide."""
        for one in experiments:
            arm = self.arm(one)
            if arm is not None:
                self.exposed[one.id] = arm.id

    def holds_out(self, holdout: Holdout) -> bool:
        """Whether the subject is held out, worked out once."""
        if holdout.id not in self.held:
            self.held[holdout.id] = trial.held_out(holdout, lasting_name(self.profile), self.now_ms)
        return self.held[holdout.id]


def admitted(ctx: DecisionContext, placement: Placement, slot: Slot) -> list[Candidate]:
    """The listed candidates that no gate stops; of each of the others, the audit has the first gate that does."""
    ctx.look_at_caps(slot.cap_keys)
    limiting = _limiting(ctx, slot.experiments)
    watched = _watches(ctx, limiting)
    left: list[Candidate] = []
    for candidate in slot.candidates:
        stop = _stopped(ctx, placement, candidate, limiting, watched)
        if stop is None:
            left.append(candidate)
        else:
            ctx.audits.append(stop)
    for tested in {id(one.experiments): one.experiments for one in left}.values():
        ctx.expose(tested)
    return left


def stopped(ctx: DecisionContext, placement: Placement, candidate: Candidate) -> CandidateAudit | None:
    """The first gate that stops a candidate that is not listed on the placement; None where it may be shown."""
    return unfit(ctx, placement, candidate) or held_back(ctx, placement, candidate)


def unfit(ctx: DecisionContext, placement: Placement, candidate: Candidate) -> CandidateAudit | None:
    """The first of the gates whose outcome stays the same while a placement is filled: validity, inventory, rules."""
    if candidate.limited and (stop := _not_available(ctx, placement, candidate.item)) is not None:
        return stop
    judged = ctx.judged
    for stage, outcome, rule in candidate.rules:
        broken = judged.get(id(rule), _UNASKED)
        if broken is _UNASKED:
            broken = stop_of(rule, ctx.facts, ctx.of(candidate.item))
            if not rule.of_candidate:
                judged[id(rule)] = broken
        if broken is not None:
            return CandidateAudit(
                candidate.item.id, placement.id, f"unknown:{broken.unknown}" if broken.unknown else outcome,
                stage, broken.clause, broken.values)
    return None


def held_back(ctx: DecisionContext, placement: Placement, candidate: Candidate) -> CandidateAudit | None:
    """The first of the other gates, for a candidate that is not listed on the placement."""
    ctx.look_at_caps(candidate.cap_keys)
    limiting = _limiting(ctx, candidate.experiments)
    return _held_back(ctx, placement, candidate, limiting, _watches(ctx, limiting))


def _stopped(
    ctx: DecisionContext, placement: Placement, candidate: Candidate, limiting: list[tuple[Experiment, Variation]],
    watched: bool,
) -> CandidateAudit | None:
    """Every gate in its order. Whatever is shown has passed here, by whichever way it came.

    :param limiting: the subject's arms that keep items out.
    :param watched: whether the contact policy, suppressions or these arms may stop anything at all.
    """
    return unfit(ctx, placement, candidate) or _held_back(ctx, placement, candidate, limiting, watched)


def _held_back(
    ctx: DecisionContext, placement: Placement, candidate: Candidate, limiting: list[tuple[Experiment, Variation]],
    watched: bool,
) -> CandidateAudit | None:
    if watched or candidate.watched or not candidate.cap_keys.isdisjoint(ctx.tight):
        return (
            _kept_quiet(ctx, placement, candidate.item) or _suppressed(ctx, placement, candidate)
            or capped(ctx, placement, candidate) or _kept_out(ctx, placement, candidate, limiting)
        )
    return None


def _watches(ctx: DecisionContext, limiting: list[tuple[Experiment, Variation]]) -> bool:
    channel = ctx.channel
    policy = channel.quiet is not None or channel.do_not_contact is not None
    return policy or bool(limiting or ctx.profile.suppressions)


def _suppressed(ctx: DecisionContext, placement: Placement, candidate: Candidate) -> CandidateAudit | None:
    suppressions = ctx.profile.suppressions
    for suppression, key in candidate.suppressions:
        if suppressions.get(key, 0) > ctx.now_ms:
            return CandidateAudit(candidate.item.id, placement.id, "suppressed", "caps", suppression.text,
                                  {"until_ms": str(suppressions[key]), "counter": key})
    return None


def _not_available(ctx: DecisionContext, placement: Placement, item: Item) -> CandidateAudit | None:
    now_ms = ctx.now_ms
    if item.valid_from_ms is not None and now_ms < item.valid_from_ms:
        return CandidateAudit(item.id, placement.id, "not_yet_valid", "eligibility", "valid_from",
                              {"now_ms": str(now_ms), "valid_from_ms": str(item.valid_from_ms)})
    if item.valid_until_ms is not None and now_ms >= item.valid_until_ms:
        return CandidateAudit(item.id, placement.id, "expired", "eligibility", "valid_until",
                              {"now_ms": str(now_ms), "valid_until_ms": str(item.valid_until_ms)})
    if item.inventory is not None and item.inventory <= 0:
        return CandidateAudit(item.id, placement.id, "out_of_stock", "eligibility", "inventory",
                              {"inventory": str(item.inventory)})
    return None


def _kept_quiet(ctx: DecisionContext, placement: Placement, item: Item) -> CandidateAudit | None:
    channel = ctx.channel
    if channel.do_not_contact is not None and "do_not_contact" not in item.bypass:
        rule = channel.do_not_contact
        wanted = ctx.judge(rule, item)
        if wanted is None or wanted.unknown:
            outcome = f"unknown:{wanted.unknown}" if wanted else "do_not_contact"
            return CandidateAudit(item.id, placement.id, outcome, "channel_policy", rule.text,
                                  wanted.values if wanted else {})
    if channel.quiet is not None and "quiet_hours" not in item.bypass:
        if fact.zone_is_unreadable(ctx.profile, ctx.live.policy):
            return CandidateAudit(item.id, placement.id, "unknown:zone", "channel_policy", "quiet_hours", {})
        until_ms = quiet_until_ms(channel, ctx.now_ms, ctx.zone)
        if until_ms is not None:
            outcome = f"deferred:{until_ms}" if channel.defers else "quiet_hours"
            return CandidateAudit(item.id, placement.id, outcome, "channel_policy", "quiet_hours",
                                  {"until_ms": str(until_ms), "zone": f'"{ctx.zone}"'})
    return None


def quiet_until_ms(channel: Channel, now_ms: int, zone: tzinfo) -> int | None:
    """When the quiet hours that hold now end; None where none do."""
    if channel.quiet is None:
        return None
    begin, end = channel.quiet
    here = moment(now_ms).astimezone(zone)
    minute = here.hour * 60 + here.minute
    # Quiet hours over midnight belong to the day on which they began.
    since_yesterday = begin >= end and minute < end
    inside = (begin <= minute < end) if begin < end else (minute >= begin or minute < end)
    weekday = here.isoweekday() if not since_yesterday else (here.isoweekday() - 2) % 7 + 1
    if not inside or weekday not in channel.quiet_days:
        return None
    return local_time_ms(here.date(), end, zone, after_ms=now_ms)


def capped(ctx: DecisionContext, placement: Placement, candidate: Candidate) -> CandidateAudit | None:
    """The first cap without room for one more, or None."""
    if candidate.account_caps and ctx.account_key:
        stop = _not_leased(ctx, placement, candidate)
        if stop is not None:
            return stop
    if candidate.cap_keys.isdisjoint(ctx.tight):
        return None
    for use in candidate.stopping:
        if use.key not in ctx.tight:
            continue
        used = ctx.used(use.cap, use.key)
        if used + use.weight > use.cap.limit:
            values = {"used": str(used), "limit": str(use.cap.limit), "counter": use.key}
            zone = ctx.zone if use.cap.window.local else UTC
            free_ms = caps.free_at_ms(use.cap, ctx.counter(use.key) or caps.EMPTY, ctx.now_ms, zone,
                                       use.weight, ctx.channel.session_ms)
            if free_ms is not None:
                values["free_at_ms"] = str(free_ms)
            return CandidateAudit(candidate.item.id, placement.id, "capped", "caps", use.cap.text, values)
    return None


def _not_leased(ctx: DecisionContext, placement: Placement, candidate: Candidate) -> CandidateAudit | None:
    """The first cap of the account of which it has not leased enough, or None. What it was not asked about counts as
    leased: the result then says so."""
    for use in candidate.account_caps:
        leased = ctx.leased(use.key)
        room = use.cap.limit if leased is None else leased
        if not use.bypass and ctx.borrowed.get(use.key, 0) + use.weight > room:
            values = {"leased": str(room), "limit": str(use.cap.limit), "counter": use.key,
                      "account": encode_json(ctx.account_key)}
            if ctx.lease is not None and use.key in ctx.lease.used:
                values["used"] = str(ctx.lease.used[use.key])
            return CandidateAudit(candidate.item.id, placement.id, "capped", "caps", use.cap.text, values)
    return None


def _kept_out(
    ctx: DecisionContext, placement: Placement, candidate: Candidate, limiting: list[tuple[Experiment, Variation]]
) -> CandidateAudit | None:
    """Whether a holdout or an experiment's arm keeps the candidate out; `limiting`: the arms that keep out anybody."""
    item = candidate.item
    for holdout in candidate.holdouts:
        if ctx.holds_out(holdout):
            return CandidateAudit(item.id, placement.id, "held_out", "experiment", f"holdout {holdout.id}",
                                  {"share": str(holdout.share)})
    for experiment, arm in limiting:
        if trial.excluded(arm, item.id) and experiment in candidate.experiments:
            ctx.expose(candidate.experiments)
            return CandidateAudit(item.id, placement.id, "not_in_variation", "experiment",
                                  f"{experiment.id}:{arm.id}", {})
    return None


def _limiting(ctx: DecisionContext, experiments: Iterable[Experiment]) -> list[tuple[Experiment, Variation]]:
    """The subject's arms in these experiments, those that may keep items out."""
    arms = [(one, ctx.arm(one)) for one in experiments]
    return [(one, arm) for one, arm in arms if arm is not None and (arm.only or arm.without)]
