"""A placement filled by a model that learns: every place is drawn anew among those that could be shown there.

So the probability of an item at its place, given what stands above it, is one of independent draws, and can be worked
out. A score is the model's, multiplied by the product of the ranking's other terms; a product below 0 counts as 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.core.decide.choosing import Bound, Shelf, bound_for, put
from pipeline.core.decide.gates import DecisionContext, capped
from pipeline.core.decide.live import Candidate
from pipeline.core.decide.ranking import Score
from pipeline.core.hashing import fraction
from pipeline.core.model.definitions import Placement, Ranking
from pipeline.core.model.records import CandidateAudit, Chosen
from pipeline.core.model.values import Working, replaced
from pipeline.core.model.words import ModelUse
from pipeline.core.models.learner import WITH_FEATURES, Learner
from pipeline.core.models.posterior import Posterior
from pipeline.core.models.selection import Drawn, best, drawn
from pipeline.core.models.snapshots import Snapshot
from pipeline.core.rules.rule import encode_json
from pipeline.core.subject import lasting_name

_Vectors = list[tuple[float, ...] | None]


class _Field(Working):
    """Those that one placement is drawn among, by their index: candidates, the rest of their scores, the model's."""

    learner: Learner
    candidates: list[Candidate]
    scores: list[Score]
    vectors: _Vectors
    posterior: Posterior
    means: list[float]
    #: The last draw of each; of a model that does not draw, its score.
    draws: list[float]

    def score(self, index: int, more: Mapping[str, float] | None = None) -> Score:
        """What the audit holds of one: its score as it was drawn last, and what made it."""
        terms = {**self.scores[index].terms, "model": self.draws[index], "model.mean": self.means[index]}
        if self.vectors[index] is None:
            terms["model.unknown"] = 1.0
        if more:
            terms.update(more)
        return Score(self.draws[index], terms)


def choose(
    ctx: DecisionContext, placement: Placement, order: Ranking, left: list[tuple[Candidate, Score]],
    arms: Mapping[str, str],
) -> list[Chosen]:
    """Fill the placement's places one by one, each one's caps spent before the next is drawn."""
    if not left:
        return []
    learner = learner_of(ctx, order)
    snapshot = ctx.live.models.get(learner.id)
    if snapshot is None:
        ctx.audits += [CandidateAudit(one.item.id, placement.id, "unknown:model", "ranking", f"snapshot {learner.pin}",
                                      {"model": encode_json(learner.id)}, 0.0, score.terms) for one, score in left]
        return []
    field = _field(ctx, learner, snapshot, left)
    use = ModelUse(learner.id, snapshot.number, {}, learner.form)
    shelf = Shelf(ctx, placement)
    wanted = min(placement.max_variants, ctx.request.max_variants)
    standing = list(range(len(left)))
    bound: dict[int, Bound | None] = {}
    while standing and len(shelf.chosen) < wanted:
        if not bound or _may_have_changed(shelf, bound):
            bound = _showable(shelf, field, standing)
            standing = list(bound)
        if not standing:
            break
        place = len(shelf.chosen)
        seed = (ctx.decision_id, placement.id, learner.id, str(place))
        if field.posterior.family == "fixed":
            found = best(field.draws, standing, learner.epsilon, learner.min_share, *seed)
        else:
            found = drawn(field.posterior, standing, learner.epsilon, learner.min_share, *seed)
            field.draws = found.scores
        index = standing[found.pick]
        _put(shelf, field, index, bound, found, arms)
        vector = field.vectors[index]
        name = field.candidates[index].item.id
        if shelf.chosen[-1].item_id == name and vector is not None:
            use.vectors[name] = vector if learner.kind in WITH_FEATURES else ()
        del standing[found.pick], bound[index]
    for index in standing:
        score = field.score(index)
        ctx.audits.append(CandidateAudit(field.candidates[index].item.id, placement.id, "outranked", "ranking", "", {},
                                         score.value, score.terms))
    ctx.models[placement.id] = use
    return shelf.chosen


def _may_have_changed(shelf: Shelf, bound: Mapping[int, Bound | None]) -> bool:
    """Whether the item shown last may stop any of the others: by diversity, by a cap with little room, by the account's
    caps, or as what another one leads to."""
    ctx = shelf.ctx
    return bool(shelf.placement.diversity or ctx.account_key or ctx.tight or any(bound.values()))


def learner_of(ctx: DecisionContext, order: Ranking) -> Learner:
    """The ranking's model, or its challenger for the subjects of the challenger's share: the same while it lasts."""
    models = ctx.live.policy.models
    champion = models[order.learner]
    if champion.challenger and fraction(
            "challenger", champion.id, champion.challenger, lasting_name(ctx.profile)) < champion.challenger_share:
        return models[champion.challenger]
    return champion


def _field(
    ctx: DecisionContext, learner: Learner, snapshot: Snapshot, left: Sequence[tuple[Candidate, Score]]
) -> _Field:
    candidates, scores = [one for one, _ in left], [score for _, score in left]
    names = [one.item.id for one in candidates]
    columns = ctx.live.item_columns[learner.id]
    context = learner.context(ctx.facts)
    vectors: _Vectors = []
    for name in names:
        own = columns[name]
        vectors.append(None if isinstance(own, str) or isinstance(context, str) else context + own)
    weights = [max(0.0, score.value) for score in scores]
    posterior = snapshot.posterior(learner, names, vectors, weights)
    means: list[float] = posterior.means().tolist()
    if learner.kind not in WITH_FEATURES:
        # What its cold start does not know is scored all the same.
        vectors = [() for _ in names]
    draws = posterior.bounds().tolist() if posterior.family == "fixed" else means
    return _Field(learner, candidates, scores, vectors, posterior, means, draws)


def _showable(shelf: Shelf, field: _Field, standing: list[int]) -> dict[int, Bound | None]:
    """Those that could be shown at the next place, with what each is bound to (None: its own content, whatever is
    known); the others are told why not. What stops one at a place stops it at every later one."""
    ctx, placement = shelf.ctx, shelf.placement
    found: dict[int, Bound | None] = {}
    for index in standing:
        candidate = field.candidates[index]
        stop = shelf.too_much(candidate.item, None) or capped(ctx, placement, candidate)
        if stop is None and candidate.certain:
            found[index] = None
            continue
        bound = stop or bound_for(shelf, candidate)
        if isinstance(bound, CandidateAudit):
            if bound.item_id not in shelf.items:
                score = field.score(index)
                ctx.audits.append(replaced(bound, score=score.value, terms=score.terms))
        else:
            found[index] = bound
    return found


def _put(
    shelf: Shelf, field: _Field, index: int, bound: dict[int, Bound | None], found: Drawn, arms: Mapping[str, str]
) -> None:
    """Show the drawn one. What several lead to, by `instead`, has the sum of their chances."""
    own = field.candidates[index]
    content = bound[index] or bound_for(shelf, own)
    if isinstance(content, CandidateAudit):
        raise TypeError(f"{own.item.id} was bound and is not any more")
    name = content.candidate.item.id
    propensity = found.propensities[found.pick]
    if any(bound.values()):
        propensity = sum(chance for other, chance in zip(bound, found.propensities, strict=True)
                         if _leads_to(bound[other], field.candidates[other]) == name)
    error = found.error(propensity)
    put(shelf, own, field.score(index, {"model.propensity_error": error} if found.draws else None), content, arms,
        min(1.0, propensity))


def _leads_to(bound: Bound | None, own: Candidate) -> str:
    return own.item.id if bound is None else bound.candidate.item.id
