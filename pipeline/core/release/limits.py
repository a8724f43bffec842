"""Channels, caps and suppressions of a release: how often, and when not."""

from __future__ import annotations

from pipeline.core.model.definitions import Cap, Channel, Suppression
from pipeline.core.model.windows import Window, span, window_of
from pipeline.core.release.book import CANDIDATE, Body, RuleBook
from pipeline.core.sections.sessions import GAP_MS
from pipeline.core.sections.timestamps import TIMESTAMPS_MAX


def channel(book: RuleBook, name: str, one: Body, data: Body) -> Channel:
    """One channel with its contact policy."""
    path = ("channels", name)
    book.all_known(path, one, "purposes", data["consent"]["purposes"])
    book.all_known(path, one, "account_purposes", data["consent"]["purposes"], "purpose")
    quiet: Body = one.get("quiet_hours", {})
    return Channel(
        name, tuple(one.get("purposes", ())), one.get("escape", "html"),
        (quiet["begin"], quiet["end"]) if quiet else None, frozenset(quiet.get("days", range(1, 8))),
        quiet.get("then", "suppress") == "defer",
        book.rule((*path, "do_not_contact"), one.get("do_not_contact"), CANDIDATE),
        tuple(one.get("account_purposes", ())), one.get("session_ms", GAP_MS),
    )


def cap(book: RuleBook, name: str, one: Body, data: Body) -> Cap:
    """One frequency cap, or contact pressure where it has weights."""
    path = ("caps", name)
    window = window_of(one["window"])
    if one["limit"] > TIMESTAMPS_MAX and window.forgets:
        book.problems.add((*path, "limit"), f"a cap within a window counts to {TIMESTAMPS_MAX} at most")
    weights = one.get("weights")
    if weights is not None:
        for other in weights:
            book.problems.known((*path, "weights", other), other, data["channels"], "channel")
        for other, weight in weights.items():
            if weight > one["limit"]:
                book.problems.add((*path, "weights", other), f"one decision on {other} weighs {weight}, more than the "
                                  f"limit {one['limit']}: nothing could ever be shown there", "raise the limit")
        if one["counted"] != "decision":
            book.problems.add((*path, "weights"), "only decisions weigh", "write count: decision")
    of_account = one.get("of") == "account"
    if of_account and one["counted"] != "decision":
        book.problems.add((*path, "counted"), "an account's cap counts decisions", "write count: decision")
    if of_account and window.local:
        book.problems.add((*path, "window"), "an account has no zone of its own", "write zone: utc")
    if of_account and window.by_channel:
        book.problems.add((*path, "window"), "an account has no sessions", "write a window as 1h")
    return Cap(name, one["counted"], one["scope"], window, one["limit"], book.reach(path, one, data),
               describe(one, window), None if weights is None else dict(weights), of_account)


def suppression(book: RuleBook, name: str, one: Body, data: Body) -> Suppression:
    """One outcome-triggered suppression."""
    path = ("suppressions", name)
    if name in data.get("caps", {}):
        book.problems.add(path, f"there is a cap {name!r} too", "give it another name: their counters share it")
    text = (f"{one.get('at_least', 1)} {one['counted']} per {one['scope']} in {span(one['within_ms'])} "
            f"→ suppressed for {span(one['lasts_ms'])}")
    return Suppression(name, one["counted"], one["scope"], one.get("at_least", 1), one["within_ms"], one["lasts_ms"],
                book.reach(path, one, data), text)


def describe(one: Body, window: Window) -> str:
    """A cap in words, for explanations: `at most 3 impression per item in 7d`."""
    whose = " over all members of the account" if one.get("of") == "account" else ""
    points = " points" if one.get("weights") is not None else ""
    said = f"at most {one['limit']}{points} {one['counted']} per {one['scope']}{whose}"
    return f"{said} {window.phrase(one['scope'])}".rstrip()
