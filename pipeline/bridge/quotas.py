"""What each tenant may ask of this bridge: decisions and events per second, decisions at a time.

The first line against a noisy tenant: all tenants share the partitions behind this endpoint, and what lies before
somebody in a partition's log is worked on first. A bucket holds a second's worth. On one event loop.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from pipeline import access
from pipeline.access import OTHERS, Quota
from pipeline.bridge.problems import QUOTA_EXCEEDED, Problem

#: Tenants that are remembered without being named: the one heard of longest ago is forgotten.
UNNAMED_MAX: Final = 1_000

UNLIMITED: Final = Quota()


@dataclass(slots=True)
class _Bucket:
    """What is left of a rate; below zero after a batch larger than what was left."""

    rate: int
    tokens: float
    at_s: float

    def take(self, number: int, now_s: float) -> float:
        """Takes so many and returns 0, or the seconds until there is one to take."""
        self.tokens = min(float(self.rate), self.tokens + (now_s - self.at_s) * self.rate)
        self.at_s = now_s
        if self.tokens < 1.0:
            return (1.0 - self.tokens) / self.rate
        self.tokens -= number
        return 0.0


@dataclass(slots=True)
class _Usage:
    in_flight: int = 0
    buckets: dict[str, _Bucket] = field(default_factory=dict)


class Quotas:
    """The quotas of one bridge and what is used of them."""

    def __init__(self, setting: str, now_s: Callable[[], float]) -> None:
        """`now_s`: monotonic seconds. Raises QuotasError."""
        self.by_tenant: Final = access.quotas(setting)
        self._now_s = now_s
        self._usage: dict[str, _Usage] = {}

    def of(self, tenant: str) -> Quota:
        """The tenant's quota."""
        return self.by_tenant.get(tenant) or self.by_tenant.get(OTHERS, UNLIMITED)

    def in_flight(self, tenant: str) -> int:
        """Its decisions under way."""
        usage = self._usage.get(tenant)
        return 0 if usage is None else usage.in_flight

    @contextmanager
    def deciding(self, tenant: str) -> Iterator[None]:
        """While one of its decisions is under way. Raises Problem where that is more than it may."""
        quota = self.of(tenant)
        if quota is UNLIMITED:
            yield
            return
        usage = self._used(tenant)
        if quota.in_flight is not None and usage.in_flight >= quota.in_flight:
            raise _exceeded(tenant, "in_flight", f"{quota.in_flight} decisions at a time", quota.in_flight, 1)
        self._take(tenant, usage, "decisions", quota.decisions, 1)
        usage.in_flight += 1
        try:
            yield
        finally:
            usage.in_flight -= 1

    def sending(self, tenant: str, events: int) -> None:
        """It sends so many events at once. Raises Problem where it has sent all it may; a batch is taken whole."""
        rate = self.of(tenant).events
        if rate is not None:
            self._take(tenant, self._used(tenant), "events", rate, events)

    def _take(self, tenant: str, usage: _Usage, what: str, rate: int | None, number: int) -> None:
        if rate is None:
            return
        now_s = self._now_s()
        bucket = usage.buckets.get(what)
        if bucket is None:
            bucket = usage.buckets[what] = _Bucket(rate, float(rate), now_s)
        wait_s = bucket.take(number, now_s)
        if wait_s > 0.0:
            raise _exceeded(tenant, what, f"{rate} {what} a second", rate, math.ceil(wait_s))

    def _used(self, tenant: str) -> _Usage:
        usage = self._usage.pop(tenant, None) or _Usage()
        self._usage[tenant] = usage
        if len(self._usage) > UNNAMED_MAX + len(self.by_tenant):
            oldest = next((name for name, one in self._usage.items()
                           if name not in self.by_tenant and not one.in_flight), None)
            if oldest is not None:
                del self._usage[oldest]
        return usage


def _exceeded(tenant: str, quota: str, said: str, limit: int, wait_s: int) -> Problem:
    return Problem(
        QUOTA_EXCEEDED, f"Tenant {tenant} may have {said} here (quota `{quota}`).",
        headers={"Retry-After": str(max(1, wait_s))}, extra={"quota": quota, "limit": limit, "tenant": tenant},
    )
