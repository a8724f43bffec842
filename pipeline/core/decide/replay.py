"""An audited decision made again, from its audit record and the release and catalog it names. Pure."""

from __future__ import annotations

from dataclasses import replace

from pipeline.core.decide.decision import DecisionResult, decide
from pipeline.core.decide.live import Live
from pipeline.core.model.records import AuditRecord


def decided_again(audit: AuditRecord, live: Live) -> DecisionResult:
    """The decision over what its audit holds. `live` gives the release and the catalog only: the profile, the account
    and the time are the audit's."""
    account = audit.account
    then = replace(live, accounts={} if account is None else {account.account_id: account})
    return decide(audit.request, audit.profile_before, then, audit.at_ms, audit.lease)


def differences(audit: AuditRecord, result: DecisionResult) -> list[str]:
    """The fields in which a decision made again differs from its audit; none: every candidate fared the same."""
    return [name for name in ("decision_id", "candidates", "consent", "decisions", "fallback", "reason", "account",
                                   "models")
            if getattr(audit, name) != getattr(result, name)]
