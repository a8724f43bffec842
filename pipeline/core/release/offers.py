"""Placements and rankings of a release."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.core.model.definitions import Diversity, Fallback, Model, Placement, Ranking
from pipeline.core.models.learner import Learner
from pipeline.core.models.trained import Trained
from pipeline.core.release.book import CANDIDATE, Body, RuleBook
from pipeline.core.rules.cel.build import OF_BOTH

#: The preset's terms, in the order in which they are multiplied.
ARBITRATION = ("propensity", "context_weight", "value", "lever")


def ranking(
    book: RuleBook, name: str, one: Body, types: Mapping[str, str], learners: Mapping[str, Learner],
    trained: Mapping[str, Trained | None],
) -> Ranking:
    """One way of ordering candidates. `trained`: None for one that is wrong, which is said already."""
    path = ("rankings", name)
    texts = {"score": one["formula"]} if "formula" in one else {
        term: one["arbitration"][term] for term in ARBITRATION if term in one.get("arbitration", {})}
    terms = []
    for term, text in texts.items():
        where = (*path, "formula") if term == "score" else (*path, "arbitration", term)
        number = book.number(where, text)
        if number is not None:
            terms.append((term, number))
    model, learner = None, ""
    rivals: list[Learner | Trained] = []
    ready = trained.get(one.get("learner", ""))
    if one.get("learner") in trained:
        rivals = [] if ready is None else [ready]
    elif "learner" in one:
        if book.problems.known((*path, "model"), one["learner"], [*learners, *trained], "model"):
            learner = one["learner"]
            rivals = [learners[name] for name in (learner, learners[learner].challenger) if name in learners]
            if one.get("lottery") or one.get("ties", "id") == "draw":
                book.problems.add(path, "a learning model draws by itself", "leave out lottery and ties")
    elif "model" in one:
        coefficients = one["model"].get("coefficients", {})
        for attribute in coefficients:
            known = [path for path, kind in types.items() if kind in ("int", "double", "bool")]
            book.problems.known((*path, "model", "coefficients", attribute), attribute, known, "number attribute")
            book.shows((*path, "model", "coefficients", attribute), (attribute,))
        book.reads.update(coefficients)
        model = Model(one["model"].get("intercept", 0.0), tuple(sorted(coefficients.items())),
                      dict(one["model"].get("items", {})))
    mixed = tuple(term for term in terms if term[1].of_candidate and not term[1].only_of_candidate)
    reads = frozenset().union(*(rival.reads for rival in rivals))
    book.reads.update(reads)
    return Ranking(name, tuple(terms), model, one.get("lottery", False), one.get("ties", "id") == "draw", mixed,
                   learner, reads, max((rival.operations for rival in rivals), default=0.0), ready)


def placement(
    book: RuleBook, name: str, one: Body, rankings: Mapping[str, Ranking], types: Mapping[str, str], data: Body
) -> Placement:
    """One slot."""
    path = ("placements", name)
    book.all_known(path, one, "channels", data["channels"])
    book.all_known(path, one, "purposes", data["consent"]["purposes"])
    order = one.get("ranking")
    if order is not None:
        book.problems.known((*path, "ranking"), order, rankings, "ranking")
    for index, limit in enumerate(one.get("diversity", ())):
        known = ("tag", "campaign", "kind", *(path for path in types if path.startswith(CANDIDATE)
                                              and not path.startswith(OF_BOTH)))
        book.problems.known((*path, "diversity", index, "per"), limit["per"], known, "group")
    default = one["fallback"]
    return Placement(
        name, frozenset(one["channels"]), tuple(one.get("purposes", ())), one.get("max_variants", 1),
        one.get("ttl_ms", 300_000) // 1_000, rankings.get(order or "", Ranking("priority")),
        Fallback(default["item"], default.get("kind", "content"), default.get("variant", "fallback"),
                 default.get("content", {}), default.get("ttl_ms", 60_000) // 1_000),
        book.rule((*path, "applicability"), one.get("applicability"), CANDIDATE),
        tuple(Diversity(limit["per"], limit["at_most"], frozenset(limit.get("values", ())))
              for limit in one.get("diversity", ())),
        tuple(default.get("chain", ())), one.get("repeats", False),
    )
