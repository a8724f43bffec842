"""Next best action, offer and variant: the one function behind live requests, plans, replay, what-if and tests.

Pure and deterministic in its arguments; random draws are seeded by the decision's id. Order: consent gate, candidates
of the placement and channel, eligibility, applicability, suitability, channel policy, caps, holdouts and experiments,
ranking, diversity, variant and late binding, caps spent, reasons.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pipeline.core import hashing
from pipeline.core.consent import permission
from pipeline.core.consent.permission import Verdict
from pipeline.core.decide import caps, gates, learnt, ranking
from pipeline.core.decide.choosing import choose, default, fallen_back, ranked
from pipeline.core.decide.gates import DecisionContext
from pipeline.core.decide.live import Candidate, Live
from pipeline.core.identity import accounts
from pipeline.core.journeys import advance
from pipeline.core.model.bounds import ASSIGNMENTS_KEPT_MAX
from pipeline.core.model.definitions import Placement, Policy, Ranking
from pipeline.core.model.records import Account, CandidateAudit, Chosen, DecisionRequest, Lease, ModelUse
from pipeline.core.model.values import Value, value_field
from pipeline.core.rules import facts as fact
from pipeline.core.rules.rule import stop_of
from pipeline.core.sections import memberships, sessions
from pipeline.core.sections.section import changed
from pipeline.core.subject import Person

#: Named in every audit record: what decided. Changes whenever the same inputs may decide differently.
ENGINE: Final = "nextbest-4"

#: The order in which candidates drop out; the furthest one tells why nobody was left.
_STAGES: Final = {
    "eligibility": (0, "not_eligible"), "applicability": (1, "not_applicable"), "suitability": (2, "not_suitable"),
    "channel_policy": (3, "channel_policy"), "caps": (4, "capped"), "experiment": (5, "held_out"),
    "ranking": (6, "unranked"), "diversity": (7, "too_similar"), "binding": (8, "unbound"),
}


#: Facts that are told in fields of their own, or are no feature.
_MOMENTARY: Final = frozenset(("now", "context.placement", "context.channel", "context.scenario"))


class DecisionResult(Value, frozen=True):
    """What was decided and everything needed to explain it.

    `profile` is the new one; the old one, or None, where nothing may be learnt. `exposures`: experiment and arm, for
    each experiment that decided for this subject for the first time.
    """

    decision_id: str
    decisions: list[Chosen]
    fallback: bool
    reason: str
    profile: Person | None
    candidates: list[CandidateAudit]
    consent: str
    changes: tuple[advance.Change, ...] = ()
    exposures: tuple[tuple[str, str], ...] = ()
    error: str | None = None
    account: Account | None = None
    #: Places of the account's caps that were taken, by counter key; and those among them that nobody has leased yet:
    #: where there are any, the result may not be used before the account was asked.
    counted: dict[str, int] = value_field(default_factory=dict)
    asks: dict[str, int] = value_field(default_factory=dict)
    #: Where outcomes are declared: what was within reach of the decision, by path (the moment and the placement apart).
    facts: dict[str, Any] = value_field(default_factory=dict)
    #: By placement: the learning model that filled it, its snapshot, and the vectors of the items that it chose.
    models: dict[str, ModelUse] = value_field(default_factory=dict)


def decide(
    request: DecisionRequest, profile: Person | None, live: Live, now_ms: int, lease: Lease | None = None
) -> DecisionResult:
    """Decide every placement of a request. Never empty for a declared placement; never passes a cap.

    `lease`: what the subject's account has leased to this decision; `DecisionResult.asks` has what else it would take.
    """
    decision_id = hashing.decision_id_of(request.subject, request.request_id, request.earlier)
    policy = live.policy
    wrong = _wrong(request, policy)
    if wrong:
        return DecisionResult(decision_id, [], True, "invalid_request", profile, [], "", error=wrong)
    own = profile or Person(profile_id=request.subject)
    channel = policy.channels[request.channel]
    placements = [policy.placements[name] for name in dict.fromkeys(request.placements)]
    account_key = memberships.primary(own.accounts)
    account = accounts.of(own, live.accounts)
    verdicts = _verdicts(request, own, placements, policy, now_ms)
    if account_key and channel.account_purposes:
        asked = accounts.agreed(account, channel, policy.purposes, now_ms, request.require_consent)
        verdicts = {name: Verdict(one.passed and asked.passed, f'{{"member":{one.proof},"account":{asked.proof}}}')
                    for name, one in verdicts.items()}
    proofs = list(dict.fromkeys(verdict.proof for verdict in verdicts.values()))
    proof = proofs[0] if len(proofs) == 1 else f"[{','.join(proofs)}]"
    if not any(verdict.passed for verdict in verdicts.values()):
        return DecisionResult(decision_id, [default(one) for one in placements], True, "no_consent", profile, [],
                              proof, account=account)
    facts = fact.of_profile(own, policy, now_ms, account)
    own, changes = advance.refresh(own, policy, now_ms, facts=facts, account=account)
    fact.add_context(facts, policy, request.attributes, request.channel, request.scenario)
    going_on = sessions.after(own.sessions, policy.channels, channel.id, now_ms)
    ctx = DecisionContext(request, decision_id, live, own, now_ms, facts, channel, going_on,
                          account_key=account_key, lease=lease)
    decisions: list[Chosen] = []
    reasons: list[str] = []
    for placement in placements:
        if not verdicts[placement.purposes].passed:
            decisions.append(default(placement))
            reasons.append("no_consent")
            continue
        chosen, reason = _fill(ctx, placement)
        decisions += chosen or [fallen_back(ctx, placement)]
        reasons.append(reason)
    fallback = all(one.fallback for one in decisions)
    exposures = tuple((name, arm) for name, arm in sorted(ctx.exposed.items()) if own.assignments.get(name) != arm)
    return DecisionResult(decision_id, decisions, fallback, reasons[0] if fallback else "decided",
                          _after(ctx, exposures), ctx.audits, proof, changes, exposures, account=account,
                          counted=ctx.counted(), asks=ctx.asks(), facts=_reached(ctx, placements), models=ctx.models)


def _reached(ctx: DecisionContext, placements: list[Placement]) -> dict[str, Any]:
    policy = ctx.live.policy
    if not policy.outcomes:
        return {}
    names = frozenset().union(*(ctx.live.slots[one.id, ctx.channel.id].footprint.facts for one in placements))
    return {name: ctx.facts[name] for name in names - _MOMENTARY if name in ctx.facts and name not in policy.sensitive}


def _wrong(request: DecisionRequest, policy: Policy) -> str:
    if request.channel not in policy.channels:
        return f"unknown_channel:{request.channel}"
    for name in request.placements:
        if name not in policy.placements:
            return f"unknown_placement:{name}"
    return "" if request.placements else "no_placement"


def _verdicts(
    request: DecisionRequest, profile: Person, placements: list[Placement], policy: Policy, now_ms: int
) -> Mapping[tuple[str, ...], Verdict]:
    """By the purposes a placement declares: the channel's, where it declares none."""
    usual = policy.channels[request.channel].purposes
    return {
        purposes: permission.check(profile.consent, [policy.purposes[name] for name in purposes or usual],
                                request.channel, now_ms, request.require_consent)
        for purposes in {placement.purposes: None for placement in placements}
    }


def _fill(ctx: DecisionContext, placement: Placement) -> tuple[list[Chosen], str]:
    """Choose for one placement; nothing, and the reason, where nobody is left."""
    ctx.facts["context.placement"] = placement.id
    ctx.judged.clear()
    first = len(ctx.audits)
    if placement.applicability is not None:
        stop = stop_of(placement.applicability, ctx.facts, {})
        if stop is not None:
            outcome = f"unknown:{stop.unknown}" if stop.unknown else "not_applicable"
            ctx.audits.append(CandidateAudit("", placement.id, outcome, "applicability", stop.clause, stop.values))
            return [], outcome
    slot = ctx.live.slots[placement.id, ctx.request.channel]
    left = gates.admitted(ctx, placement, slot)
    order, tested = _tested(ctx, placement, left)
    scored = _scored(ctx, placement, order, left)
    if order.learner:
        chosen = learnt.choose(ctx, placement, order, scored, tested)
    else:
        chosen = choose(ctx, placement, order, ranked(ctx, placement, order, scored), tested)
    return chosen, "decided" if chosen else _why_nobody(ctx.audits[first:])


def _tested(ctx: DecisionContext, placement: Placement, left: list[Candidate]) -> tuple[Ranking, dict[str, str]]:
    """The ranking that the arms of the experiments on those left ask for; and these arms, by experiment."""
    order, arms = placement.ranking, {}
    groups = {id(one.experiments): one.experiments for one in left}.values()
    for experiment in {one.id: one for group in groups for one in group}.values():
        arm = ctx.arm(experiment)
        if arm is not None:
            order = arm.ranking or order
            arms[experiment.id] = arm.id
    return order, arms


def _scored(
    ctx: DecisionContext, placement: Placement, order: Ranking, left: list[Candidate]
) -> list[tuple[Candidate, ranking.Score]]:
    shared = ranking.of_request(order, ctx.facts)
    found = [(one, ranking.score(order, one.item, ctx.facts, ctx.of(one.item), one.terms[order.id], shared))
             for one in left]
    if order.trained is not None:
        known = [(one, score) for one, score in found if not score.unknown]
        found = [(one, score) for one, score in found if score.unknown]
        found += zip((one for one, _ in known), ranking.by_model(
            order.trained, ctx.facts, [ctx.of(one.item) for one, _ in known], [score for _, score in known]),
            strict=True)
    scored = []
    for candidate, score in found:
        item = candidate.item
        if score.unknown:
            ctx.audits.append(CandidateAudit(item.id, placement.id, f"unknown:{score.unknown}", "ranking",
                                                 score.clause, {}, 0.0, score.terms))
        else:
            scored.append((candidate, score))
    return scored


def _after(ctx: DecisionContext, exposures: tuple[tuple[str, str], ...]) -> Person:
    """The profile with what this decision counted and whom it exposed."""
    own, live = ctx.profile, ctx.live
    assignments, counters = own.assignments, own.counters
    if exposures:
        assignments = {**assignments, **dict(exposures)}
        if len(assignments) > ASSIGNMENTS_KEPT_MAX:
            running = {one.id for one in live.policy.experiments}
            assignments = {name: arm for name, arm in assignments.items() if name in running}
    if ctx.spent:
        counters = caps.bounded({**counters, **ctx.spent}, live.caps, live.suppressions, ctx.now_ms)
    return changed(own, assignments=assignments, counters=counters, sessions=ctx.sessions)


def _why_nobody(audits: list[CandidateAudit]) -> str:
    """The reason of a fallback: what stopped the candidates that came furthest."""
    if not audits:
        return "no_candidate"
    furthest = max(_STAGES[audit.stage][0] for audit in audits)
    outcomes = {audit.outcome for audit in audits if _STAGES[audit.stage][0] == furthest}
    stage = next(audit.stage for audit in audits if _STAGES[audit.stage][0] == furthest)
    return outcomes.pop() if len(outcomes) == 1 else _STAGES[stage][1]
