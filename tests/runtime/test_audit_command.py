"""`nextbest audit check` says how many were decided the same again, and which were not."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline.adapters import audit_check
from pipeline.adapters.audit_check import Findings
from pipeline.cli.main import app
from pipeline.core.decide.decision import ENGINE, decide
from pipeline.core.decide.live import Live
from pipeline.core.model.records import AuditRecord
from pipeline.core.model.values import replaced
from pipeline.core.release.history import NotKept
from pipeline.settings import Settings
from tests.core.build import asked, made


def audits(live: Live) -> list[AuditRecord]:
    """Two decisions by what is live: the later version first."""
    request = asked()
    result = decide(request, None, live, 5)
    first = AuditRecord(
        result.decision_id, 5, request, request.subject, None, result.candidates, result.consent, result.decisions,
        result.fallback, result.reason, live.release, live.policy.digest, 1, live.catalog_digest, ENGINE)
    return [replaced(first, catalog_version=2), first]


class Kept:
    """A history that has one version, and notes which it was asked for."""

    live_now = made()
    asked_for: list[int] = []  # noqa: RUF012  # of the whole test

    def __init__(self, settings: Settings) -> None:
        pass

    def live(self, seen: AuditRecord) -> Live:
        Kept.asked_for.append(seen.catalog_version)
        if seen.catalog_version == 2:
            raise NotKept("compacted too early")
        return self.live_now

    def close(self) -> None:
        pass


@pytest.mark.parametrize(("reason", "same"), [("no_consent", True), ("decided", False)])
def test_what_differs_or_is_not_kept_is_named(monkeypatch: pytest.MonkeyPatch, reason: str, same: bool) -> None:
    found = [replaced(one, reason=reason) for one in audits(Kept.live_now)]
    monkeypatch.setattr(audit_check, "_audits", lambda *_: found)
    monkeypatch.setattr(audit_check, "PublishedHistory", Kept)
    Kept.asked_for.clear()
    findings = audit_check.check(Settings(), 0, 10)
    assert Kept.asked_for == [1, 2], "in the order of versions"
    assert findings.counts == {"same" if same else "differs": 1, "not_kept": 1}
    told = [] if same else [f"{found[0].decision_id} differs in reason"]
    assert findings.named == [*told, "compacted too early"]


@pytest.mark.parametrize(("kind", "code"), [("same", 0), ("encrypted", 0), ("differs", 1), ("not_kept", 1)])
def test_the_status_says_whether_all_that_could_be_was_decided_the_same(
    monkeypatch: pytest.MonkeyPatch, kind: str, code: int
) -> None:
    def check(*_: Any) -> Findings:
        findings = Findings()
        findings.add(kind, "this one")
        return findings

    monkeypatch.setattr(audit_check, "check", check)
    result = CliRunner().invoke(app, ["audit", "check"])
    assert result.exit_code == code
    assert "decided the same again" in result.stdout and "this one" in result.stderr


def test_a_time_that_is_none_is_refused() -> None:
    result = CliRunner().invoke(app, ["audit", "check", "--since", "yesterday"])
    assert result.exit_code == 1 and "yesterday" in result.stderr
