"""The purposes of a release: what makes each lawful, how long, and where a yes must be confirmed."""

from __future__ import annotations

from pipeline.core.definitions import Purpose
from pipeline.core.release.book import Body, RuleBook
from pipeline.core.words import Basis


def purposes(book: RuleBook, data: Body) -> dict[str, Purpose]:
    """Every declared purpose, by name."""
    return {name: _purpose(book, name, one, data) for name, one in data["consent"]["purposes"].items()}


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
