"""Caps over all members of an account, exact: the account lends places, a member's decision spends only what was lent.

A lent place is taken from the moment it is lent until the loan is settled: spent places become counts at the decision's
time, the rest is free again. Time runs for the account as the latest moment it has seen, so that no window slips behind
the clock of another partition. Pure arithmetic on the account's own counters.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from typing import Final

from pipeline.core import caps
from pipeline.core.definitions import Cap, Suppression
from pipeline.core.model import Loan, Settlement
from pipeline.core.profile import TIMESTAMPS_MAX, Counter, Profile, appended, changed, newest
from pipeline.core.values import replaced

#: A loan that was not settled by then counts as spent. A member spends none that is older than `SPEND_MS`: so clocks of
#: brokers may be 23 hours apart.
SETTLED_MS: Final = 86_400_000
SPEND_MS: Final = 3_600_000

_NO_SUPPRESSIONS: Final[dict[str, Suppression]] = {}


def lent(account: Profile, asked: Loan, limits: Mapping[str, Cap], now_ms: int) -> tuple[Profile, Loan]:
    """The account with the places that it lends, and the loan with them. A cap that is not known here lends nothing."""
    at_ms = _time_ms(account, asked, now_ms)
    number = account.loans + 1
    loan_id = asked.loan_id or f"{account.profile_id}/{number}"
    counters = dict(account.counters)
    given, used = dict(asked.lent), dict(asked.used)
    for key, wanted in asked.wanted.items():
        cap = limits.get(key.partition("|")[0])
        counter = _due(cap, counters.get(key, caps.EMPTY), at_ms)
        used[key] = 0 if cap is None else caps.used(cap, counter, at_ms, UTC)
        given[key] = 0 if cap is None or not cap.of_account else max(0, min(wanted, cap.limit - used[key]))
        for place in range(given[key]):
            counter = caps.reserved(counter, f"{loan_id}#{number}.{place}", at_ms + SETTLED_MS, at_ms)
        counters[key] = counter
    after = changed(account, loans=number, counters=caps.bounded(counters, limits, _NO_SUPPRESSIONS, at_ms))
    return after, replaced(asked, loan_id=loan_id, at_ms=at_ms, wanted={}, lent=given, used=used)


def settled(account: Profile, end: Settlement, limits: Mapping[str, Cap], now_ms: int) -> Profile:
    """The account after a loan's end: what was lent is free again, what was spent is counted.

    Where the loan is no longer held it was counted as spent already; then only what passed the caps by is new, and to
    count that much twice is the safe side.
    """
    counters = dict(account.counters)
    for key in {**dict.fromkeys(end.spent), **dict.fromkeys(_holding(account, end.loan_id))}:
        cap = limits.get(key.partition("|")[0])
        counter = counters.get(key, caps.EMPTY)
        kept = {name: until for name, until in counter.held.items() if name.partition("#")[0] != end.loan_id}
        spent = end.spent.get(key, 0)
        times = newest(counter.times, (end.at_ms,) * min(spent, TIMESTAMPS_MAX),
                       keep=TIMESTAMPS_MAX if cap is None else caps.kept(cap))
        counters[key] = Counter(times, counter.total + spent, kept)
    return changed(account, counters=caps.bounded(counters, limits, _NO_SUPPRESSIONS, now_ms))


def spendable(loan: Loan, now_ms: int) -> bool:
    """Whether a member may still spend it at its own time."""
    return now_ms - loan.at_ms <= SPEND_MS


def _holding(account: Profile, loan_id: str) -> list[str]:
    return [key for key, counter in account.counters.items()
            if loan_id and any(name.partition("#")[0] == loan_id for name in counter.held)]


def _time_ms(account: Profile, asked: Loan, now_ms: int) -> int:
    """Now, or the latest moment that the counters in question have seen."""
    seen = [account.counters[key].times[-1] for key in asked.wanted
            if key in account.counters and account.counters[key].times]
    return max(now_ms, asked.at_ms, *seen) if seen else max(now_ms, asked.at_ms)


def _due(cap: Cap | None, counter: Counter, at_ms: int) -> Counter:
    """The counter with loans that were never settled counted as spent."""
    lost = sorted(until for until in counter.held.values() if until <= at_ms)
    if not lost:
        return counter
    times = counter.times
    for until in lost:
        times = appended(times, until, TIMESTAMPS_MAX if cap is None else caps.kept(cap))
    held = {name: until for name, until in counter.held.items() if until > at_ms}
    return Counter(times, counter.total + len(lost), held)
