"""Next best action, offer and variant: the one function behind live requests, plans, replay, what-if and tests.

Pure and deterministic in its arguments; chance is seeded by the request id. Order: consent gate, candidates of the
placement and channel, eligibility, applicability, suitability, caps, ranking, variants and limits, caps spent, reasons.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import tzinfo
from typing import Any, Final

from pipeline.core import caps, consent, hashing, ranking, segments
from pipeline.core import facts as fact
from pipeline.core.definitions import Item, Placement, Policy
from pipeline.core.live import Candidate, Live
from pipeline.core.model import CandidateAudit, Chosen, DecisionRequest
from pipeline.core.profile import Counter, Profile, changed
from pipeline.core.rules import Rule, Stop, stop_of

#: Named in every audit record: what decided. Changes whenever the same inputs may decide differently.
ENGINE: Final = "nextbest-1"

_COUNTERS_MAX: Final = 512


@dataclass(frozen=True, slots=True)
class Ruling:
    """What was decided and everything needed to explain it. `profile` is the new one (None: nothing to keep)."""

    decision_id: str
    decisions: list[Chosen]
    fallback: bool
    reason: str
    profile: Profile | None
    candidates: list[CandidateAudit]
    consent: str
    changes: tuple[segments.Change, ...] = ()
    error: str | None = None


@dataclass(slots=True)
class _Deciding:
    """The state of one call: never outlives it."""

    request: DecisionRequest
    decision_id: str
    live: Live
    profile: Profile
    now_ms: int
    facts: dict[str, Any]
    zone: tzinfo
    #: Outcomes of the rules that do not look at the item, by identity.
    judged: dict[int, Stop | None]
    full: dict[str, bool]
    spent: dict[str, Counter]
    audits: list[CandidateAudit]


def decide(request: DecisionRequest, profile: Profile | None, live: Live, now_ms: int) -> Ruling:
    """Decide every placement of a request. Never empty for a declared placement; never passes a cap."""
    decision_id = hashing.digest("decision", request.subject, request.request_id)
    policy = live.policy
    wrong = _wrong(request, policy)
    if wrong:
        return Ruling(decision_id, [], True, "invalid_request", profile, [], "", error=wrong)
    own = profile or Profile(profile_id=request.subject)
    placements = [policy.placements[name] for name in request.placements]
    verdicts = [
        consent.check(own.consent, placement.purposes or policy.channels[request.channel].purposes,
                      request.channel, now_ms, request.require_consent)
        for placement in placements
    ]
    proof = verdicts[0].proof if len({v.proof for v in verdicts}) == 1 else f"[{','.join(v.proof for v in verdicts)}]"
    if not any(verdict.passed for verdict in verdicts):
        defaults = [_fallback(placement) for placement in placements]
        return Ruling(decision_id, defaults, True, "no_consent", profile, [], proof)
    own, changes = segments.refresh(own, policy, now_ms, frozenset())
    facts = fact.of_profile(own, policy, now_ms)
    fact.add_context(facts, policy, request.attributes, request.channel, request.scenario)
    state = _Deciding(request, decision_id, live, own, now_ms, facts, fact.zone_of(own, policy)[1], {}, {}, {}, [])
    decisions: list[Chosen] = []
    reasons: list[str] = []
    for placement, verdict in zip(placements, verdicts, strict=True):
        chosen, reason = _fill(state, placement) if verdict.passed else ([], "no_consent")
        decisions += chosen or [_fallback(placement)]
        reasons.append(reason)
    fallback = all(one.fallback for one in decisions)
    reason = reasons[0] if fallback else "decided"
    if state.spent:
        own = changed(own, counters=_spent(state))
    return Ruling(decision_id, decisions, fallback, reason, own, state.audits, proof, changes)


def _wrong(request: DecisionRequest, policy: Policy) -> str:
    if request.channel not in policy.channels:
        return f"unknown_channel:{request.channel}"
    return next((f"unknown_placement:{name}" for name in request.placements if name not in policy.placements), "")


def _fallback(placement: Placement) -> Chosen:
    default = placement.fallback
    return Chosen(default.item_id, default.kind, placement.id, default.variant, 0, default.ttl_s,
                  content=default.content, fallback=True)


def _fill(state: _Deciding, placement: Placement) -> tuple[list[Chosen], str]:
    """Choose for one placement; nothing and the reason where nobody is left."""
    state.facts["context.placement"] = placement.id
    state.judged.clear()
    if placement.applicability is not None:
        stop = stop_of(placement.applicability, state.facts, {})
        if stop is not None:
            outcome = f"unknown:{stop.unknown}" if stop.unknown else "not_applicable"
            state.audits.append(
                CandidateAudit("", placement.id, outcome, "applicability", stop.clause, stop.values))
            return [], outcome
    audits: list[CandidateAudit] = []
    standing: list[tuple[Candidate, ranking.Score]] = []
    for candidate in state.live.slots.get((placement.id, state.request.channel), ()):
        stopped = _stopped(state, placement, candidate)
        if stopped is not None:
            audits.append(stopped)
            continue
        score = ranking.score(placement.ranking, candidate.item, state.facts)
        if score.unknown:
            audits.append(CandidateAudit(candidate.item.id, placement.id, f"unknown:{score.unknown}", "ranking",
                                         placement.ranking.number.text if placement.ranking.number else ""))
            continue
        standing.append((candidate, score))
    standing.sort(key=_order)
    chosen = _choose(state, placement, standing, audits)
    state.audits += audits
    return chosen, "decided" if chosen else _why_nobody(audits)


def _order(entry: tuple[Candidate, ranking.Score]) -> tuple[float, int, str]:
    candidate, score = entry
    return -score.value, -candidate.item.priority, candidate.item.id


def _stopped(state: _Deciding, placement: Placement, candidate: Candidate) -> CandidateAudit | None:
    """The first thing that keeps a candidate out, or None."""
    item = candidate.item
    now_ms = state.now_ms
    if item.valid_from_ms is not None and now_ms < item.valid_from_ms:
        return CandidateAudit(item.id, placement.id, "not_yet_valid", "eligibility", "valid_from",
                              {"now_ms": str(now_ms), "valid_from_ms": str(item.valid_from_ms)})
    if item.valid_until_ms is not None and now_ms >= item.valid_until_ms:
        return CandidateAudit(item.id, placement.id, "expired", "eligibility", "valid_until",
                              {"now_ms": str(now_ms), "valid_until_ms": str(item.valid_until_ms)})
    for stage, outcome, rule in (
        ("eligibility", "not_eligible", item.eligibility),
        ("applicability", "not_applicable", item.applicability),
        ("suitability", "not_suitable", item.suitability),
    ):
        if rule is not None:
            stop = _judge(state, rule, item)
            if stop is not None:
                outcome = f"unknown:{stop.unknown}" if stop.unknown else outcome
                return CandidateAudit(item.id, placement.id, outcome, stage, stop.clause, stop.values)
    return _capped(state, placement, candidate)


def _judge(state: _Deciding, rule: Rule, item: Item) -> Stop | None:
    if rule.of_candidate:
        return stop_of(rule, state.facts, item.facts)
    key = id(rule)
    if key not in state.judged:
        state.judged[key] = stop_of(rule, state.facts, item.facts)
    return state.judged[key]


def _capped(state: _Deciding, placement: Placement, candidate: Candidate) -> CandidateAudit | None:
    counters = state.profile.counters
    for use in candidate.caps:
        key = use.key
        if use.bypass or (key not in counters and key not in state.spent and use.cap.limit > 0):
            continue
        is_full = state.full.get(key)
        if is_full is None:
            counter = state.spent.get(key) or counters.get(key)
            is_full = state.full[key] = caps.full(use.cap, counter, state.now_ms, state.zone)
        if is_full:
            counter = state.spent.get(key) or counters.get(key) or caps.EMPTY
            taken = caps.used(use.cap, counter, state.now_ms, state.zone)
            values = {"used": str(taken), "limit": str(use.cap.limit), "counter": key}
            return CandidateAudit(candidate.item.id, placement.id, "capped", "caps", use.cap.text, values)
    return None


def _choose(
    state: _Deciding, placement: Placement, standing: list[tuple[Candidate, ranking.Score]],
    audits: list[CandidateAudit],
) -> list[Chosen]:
    """Take from the top while there is room, each one's caps spent before the next is looked at."""
    wanted = min(placement.max_variants, state.request.max_variants)
    chosen: list[Chosen] = []
    for candidate, score in standing:
        item = candidate.item
        outcome, stage = "outranked", "ranking"
        if len(chosen) < wanted:
            capped = _capped(state, placement, candidate) if chosen or state.spent else None
            if capped is not None:
                audits.append(capped)
                continue
            ttl_s = _ttl_s(state, placement, item)
            variant = candidate.variants[0]
            chosen.append(Chosen(item.id, item.kind, placement.id, variant.id, item.priority, ttl_s,
                                 content=variant.content, score=score.value))
            _spend(state, candidate, ttl_s)
            outcome = "chosen"
        audits.append(CandidateAudit(item.id, placement.id, outcome, stage, "", {}, score.value, score.terms))
    return chosen


def _ttl_s(state: _Deciding, placement: Placement, item: Item) -> int:
    if item.valid_until_ms is None:
        return placement.ttl_s
    return max(0, min(placement.ttl_s, (item.valid_until_ms - state.now_ms) // 1_000))


def _spend(state: _Deciding, candidate: Candidate, ttl_s: int) -> None:
    """Count what a decision counts, hold what it reserves, and forget what was known to have room."""
    for use in candidate.caps:
        cap, key = use.cap, use.key
        counter = state.spent.get(key) or state.profile.counters.get(key)
        if cap.counted == "decision":
            state.spent[key] = caps.counted(cap, counter, state.now_ms)
        elif cap.reserves:
            until_ms = state.now_ms + ttl_s * 1_000
            holder = f"{state.decision_id}/{candidate.item.id}"
            state.spent[key] = caps.reserved(counter, holder, until_ms, state.now_ms)
        else:
            continue
        state.full.pop(key, None)


def _spent(state: _Deciding) -> dict[str, Counter]:
    counters = {**state.profile.counters, **state.spent}
    if len(counters) > _COUNTERS_MAX:
        return caps.pruned(counters, state.live.caps, state.now_ms)
    return counters


def _why_nobody(audits: list[CandidateAudit]) -> str:
    """The reason of a fallback: what stopped the candidates that came furthest."""
    if not audits:
        return "no_candidate"
    furthest = max(_STAGES.index(audit.stage) for audit in audits)
    outcomes = {audit.outcome for audit in audits if _STAGES.index(audit.stage) == furthest}
    return outcomes.pop() if len(outcomes) == 1 else _STAGE_REASONS[_STAGES[furthest]]


_STAGES: Final = ("eligibility", "applicability", "suitability", "channel_policy", "caps", "experiment", "ranking",
                  "diversity", "binding")
_STAGE_REASONS: Final = {
    "eligibility": "not_eligible", "applicability": "not_applicable", "suitability": "not_suitable",
    "channel_policy": "channel_policy", "caps": "capped", "experiment": "held_out", "ranking": "unranked",
    "diversity": "too_similar", "binding": "unbound",
}
