"""The purposes of a release: what makes each lawful and how long, where a yes must be confirmed, others' names."""

from __future__ import annotations

from typing import Final

from pipeline.core.model.definitions import Purpose, Tcf
from pipeline.core.model.words import Basis
from pipeline.core.release.book import Body, RuleBook

#: Thirteen months: as long as a choice should count before it is asked for again.
TCF_LASTS_MS: Final = 395 * 86_400_000


def purposes(book: RuleBook, data: Body) -> dict[str, Purpose]:
    """Every declared purpose, by name."""
    return {name: _purpose(book, name, one, data) for name, one in data["consent"]["purposes"].items()}


def categories(book: RuleBook, data: Body) -> dict[str, tuple[str, ...]]:
    """Another system's categories, and the purposes (or purpose/channel) that each stands for."""
    declared = data["consent"].get("categories", {})
    for category, names in declared.items():
        if category in data["consent"]["purposes"] and list(names) != [category]:
            book.problems.add(
                ("consent", "categories", category), f"{category} is a purpose too: a yes to it would permit "
                f"{', '.join(names)}", "call the category as the other system does, or leave it out")
        for index, name in enumerate(names):
            path = ("consent", "categories", category, index)
            purpose, _, channel = name.partition("/")
            book.problems.known(path, purpose, data["consent"]["purposes"], "purpose")
            if channel:
                book.problems.known(path, channel, data["channels"], "channel")
    return {category: tuple(names) for category, names in declared.items()}


def gpc(book: RuleBook, data: Body) -> tuple[str, ...]:
    """The purposes that a browser's global privacy control refuses."""
    declared = data["consent"].get("gpc", ())
    for index, name in enumerate(declared):
        book.problems.known(("consent", "gpc", index), name, data["consent"]["purposes"], "purpose")
    return tuple(declared)


def tcf(book: RuleBook, data: Body) -> Tcf | None:
    """How strings of IAB's framework speak of the purposes; None where the policy says nothing of it."""
    declared = data["consent"].get("tcf")
    if declared is None:
        return None
    for name in declared["purposes"]:
        path = ("consent", "tcf", "purposes", name)
        if book.problems.known(path, name, data["consent"]["purposes"], "purpose"):
            bases = data["consent"]["purposes"][name].get("bases", (Basis.CONSENT,))
            if not {Basis.CONSENT, Basis.LEGITIMATE_INTEREST}.intersection(bases):
                book.problems.add(path, "a TC string speaks of consent and legitimate_interest; it permits neither",
                                  "add one of them to its bases, or leave it out here")
    return Tcf(declared["vendor"], {name: tuple(numbers) for name, numbers in declared["purposes"].items()},
               declared.get("lasts_ms", TCF_LASTS_MS))


def _purpose(book: RuleBook, name: str, one: Body, data: Body) -> Purpose:
    path = ("consent", "purposes", name)
    bases = tuple(Basis(basis) for basis in one.get("bases", (Basis.CONSENT,)))
    confirmed_on = one.get("double_opt_in", ())
    book.all_known(path, one, "double_opt_in", data["channels"], "channel")
    if confirmed_on and Basis.CONSENT not in bases:
        book.problems.add((*path, "double_opt_in"), "a double opt-in confirms a consent, which this purpose does not "
                          "permit as a basis", "add consent to its bases, or leave double_opt_in out")
    if "confirm_within_ms" in one and not confirmed_on:
        book.problems.add((*path, "confirm_within"), "nothing has to be confirmed",
                          "name the channels under double_opt_in, or leave confirm_within out")
    return Purpose(name, bases, one.get("lasts_ms"), frozenset(confirmed_on), one.get("confirm_within_ms"))
