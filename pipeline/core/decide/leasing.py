"""Caps over all members of an account, exact: the account leases places, a decision spends only what was leased.

A leased place is taken from the moment it is leased until the lease is settled: spent places become counts at the
decision's time, the rest is free again. Time runs for the account as the latest moment it has seen, so
that no window slips behind the clock of another partition. Pure arithmetic on the account's own counters.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from typing import Final

from pipeline.core.decide import caps
from pipeline.core.model.definitions import Cap, Suppression
from pipeline.core.model.records import Lease, Settlement
from pipeline.core.model.values import replaced
from pipeline.core.sections.counters import Counter
from pipeline.core.sections.section import changed
from pipeline.core.sections.timestamps import TIMESTAMPS_MAX, appended, newest
from pipeline.core.subject import Account

#: A lease that was not settled by then counts as spent. A member spends none that is older than `SPEND_MS`: so clocks
#: of brokers may be 23 hours apart.
SETTLED_MS: Final = 86_400_000
SPEND_MS: Final = 3_600_000

_NO_SUPPRESSIONS: Final[dict[str, Suppression]] = {}


def leased(account: Account, asked: Lease, limits: Mapping[str, Cap], now_ms: int) -> tuple[Account, Lease]:
    """The account with the places that it leases, and the lease with them. A cap that is not known here has none."""
    at_ms = _time_ms(account, asked, now_ms)
    number = account.leases + 1
    lease_id = asked.lease_id or f"{account.profile_id}/{number}"
    counters = dict(account.counters)
    given, used = dict(asked.leased), dict(asked.used)
    for key, wanted in asked.wanted.items():
        cap = limits.get(key.partition("|")[0])
        counter = _due(cap, counters.get(key, caps.EMPTY), at_ms)
        used[key] = 0 if cap is None else caps.used(cap, counter, at_ms, UTC)
        given[key] = 0 if cap is None or not cap.of_account else max(0, min(wanted, cap.limit - used[key]))
        for place in range(given[key]):
            counter = caps.reserved(counter, f"{lease_id}#{number}.{place}", at_ms + SETTLED_MS, at_ms)
        counters[key] = counter
    after = changed(account, leases=number, counters=caps.bounded(counters, limits, _NO_SUPPRESSIONS, at_ms))
    return after, replaced(asked, lease_id=lease_id, at_ms=at_ms, wanted={}, leased=given, used=used)


def settled(account: Account, end: Settlement, limits: Mapping[str, Cap], now_ms: int) -> Account:
    """The account after a lease's end: what was leased is free again, what was spent is counted.

    Where the lease is no longer held it was counted as spent already; then only what passed the caps by is new, and to
    count that much twice is the safe side.
    """
    counters = dict(account.counters)
    for key in {**dict.fromkeys(end.spent), **dict.fromkeys(_holding(account, end.lease_id))}:
        cap = limits.get(key.partition("|")[0])
        counter = counters.get(key, caps.EMPTY)
        kept = {name: until for name, until in counter.held.items() if name.partition("#")[0] != end.lease_id}
        spent = end.spent.get(key, 0)
        times = newest(counter.times, (end.at_ms,) * min(spent, TIMESTAMPS_MAX),
                       keep=TIMESTAMPS_MAX if cap is None else caps.kept(cap))
        counters[key] = Counter(times, counter.total + spent, kept)
    return changed(account, counters=caps.bounded(counters, limits, _NO_SUPPRESSIONS, now_ms))


def spendable(lease: Lease, now_ms: int) -> bool:
    """Whether a member may still spend it at its own time."""
    return now_ms - lease.at_ms <= SPEND_MS


def _holding(account: Account, lease_id: str) -> list[str]:
    return [key for key, counter in account.counters.items()
            if lease_id and any(name.partition("#")[0] == lease_id for name in counter.held)]


def _time_ms(account: Account, asked: Lease, now_ms: int) -> int:
    """Now, or the latest moment that the counters in question have seen."""
    seen = [account.counters[key].times[-1] for key in asked.wanted
            if key in account.counters and account.counters[key].times]
    return max(now_ms, asked.at_ms, *seen) if seen else max(now_ms, asked.at_ms)


def _due(cap: Cap | None, counter: Counter, at_ms: int) -> Counter:
    """The counter with leases that were never settled counted as spent."""
    lost = sorted(until for until in counter.held.values() if until <= at_ms)
    if not lost:
        return counter
    times = counter.times
    for until in lost:
        times = appended(times, until, TIMESTAMPS_MAX if cap is None else caps.kept(cap))
    held = {name: until for name, until in counter.held.items() if until > at_ms}
    return Counter(times, counter.total + len(lost), held)
