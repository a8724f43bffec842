"""A file of what people allow as the core's events: a subject a line. Checked as a whole before anything is sent.

Nothing here depends on when the file is read: every statement has its own moment, and an event's id follows from what
it says. So a file imported twice changes nothing.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Final

from pipeline.core.consent import tcf
from pipeline.core.consent.statements import of_tc_string
from pipeline.core.hashing import digest
from pipeline.core.identity import identifiers, identity_rules
from pipeline.core.identity.identifiers import TenantKeys
from pipeline.core.model.definitions import Policy, Purpose, Tcf
from pipeline.core.model.records import ConsentGrant, Identifier, IdentityEvent, IdentityKind
from pipeline.core.model.values import astuple, replaced
from pipeline.ingest.consent_rows import WRITE, StatementRow, TcRow, cells, parsed, wrong_columns
from pipeline.ingest.event_bodies import SegmentEvent
from pipeline.ingest.event_fields import epoch_ms
from pipeline.ingest.event_mapping import CONSENT_UPDATED, EventMapper
from pipeline.ingest.group_mapping import account_of
from pipeline.ingest.line_file import Import, Row, csv_rows, json_rows, no_policy
from pipeline.ingest.refusal import FieldError, invalid

SOURCE: Final = "consent import"

class Format(StrEnum):
    """How a line says it."""

    SEGMENT = "segment"
    CSV = "csv"
    JSONL = "jsonl"
    TCF = "tcf"


_SHAPES: Final[Mapping[Format, str]] = {
    Format.SEGMENT: '{"userId": …, "timestamp": …, "context": {"consent": {"categoryPreferences": {…}}}}',
    Format.JSONL: '{"id": …, "type": …, "purpose": …, "granted": …, "at": …}',
    Format.TCF: '{"id": …, "type": …, "tc_string": …}',
}

@dataclass(slots=True)
class ConsentImport(Import):
    """`granted`, `refused`: statements by purpose. `silent`: lines that say nothing of a person's consent; `repeated`:
    lines that say what one before them says.
    """

    granted: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    silent: int = 0
    repeated: int = 0


def read(
    lines: Iterable[str], form: Format, csv_format: bool, tenant_keys: TenantKeys, tenant: str, policy: Policy | None,
    now_ms: int,
) -> ConsentImport:
    """The records of a file's lines. `csv_format`: where the format may be either, CSV and not JSON lines. `policy`:
    the tenant's live one; None where nothing is live. `now_ms` only refuses what was said later than that.
    """
    found = ConsentImport()
    if policy is None and form is not Format.TCF:
        found.warnings.add(no_policy(tenant, "names of purposes and channels"))
    reader = _Reader(tenant_keys, tenant, policy, now_ms)
    said_by: Callable[[Row, list[str]], _Said | None]
    if form is Format.TCF:
        if policy is None or policy.tcf is None:
            found.errors.add(f"the live policy of the tenant {tenant} has no consent.tcf to say what TC strings mean: "
                             "declare it, and publish the policy")
            return found
        said_by = partial(reader.tc_string, policy.purposes, policy.tcf)
    else:
        said_by = reader.segment if form is Format.SEGMENT else reader.statement
    seen: set[str] = set()

    def event_of(_: int, row: Row, warnings: list[str]) -> IdentityEvent | None:
        said = said_by(row, warnings)
        if said is None or not said.grants:
            found.silent += 1
            return None
        event = _event(said)
        if event.event_id in seen:
            found.repeated += 1
            return None
        seen.add(event.event_id)
        for grant in event.consent:
            (found.granted if grant.granted else found.refused)[grant.purpose] += 1
        return event

    model = TcRow if form is Format.TCF else StatementRow
    if form is Format.CSV or (form is Format.TCF and csv_format):
        found.take(cells(csv_rows(lines, found, partial(wrong_columns, model))), event_of)
    else:
        found.take(json_rows(lines, found, _SHAPES[form]), event_of)
    if not (found.records or found.silent or found.errors.count):
        found.errors.add("the file names nobody")
    return found


@dataclass(frozen=True, slots=True)
class _Said:
    """A subject by its key, what its identifier is, the statements, and where they come from."""

    subject: str
    subject_type: str
    grants: list[ConsentGrant]
    source: str = SOURCE
    earlier: list[str] = field(default_factory=list)


class _Reader:
    """What a row says. Raises RefusedError or ValueError."""

    def __init__(self, tenant_keys: TenantKeys, tenant: str, policy: Policy | None, now_ms: int) -> None:
        rules = policy.identity if policy else identity_rules.DEFAULT
        self._hash_of = partial(identifiers.identifier, tenant_keys, tenant, rules=rules)
        self._tenant = tenant
        self._policy = policy
        self._now_ms = now_ms
        self._mapper = EventMapper(tenant, self._hash_of, partial(account_of, tenant_keys, tenant), policy)

    def segment(self, row: Row, warnings: list[str]) -> _Said | None:
        """An event of any kind, or an object without one: only what it says about the person's consent."""
        context = row.get("context")
        if not isinstance(context, dict) or not (context.get("consent") or context.get("consentManagement")):
            return None
        if row.get("type") in ("group", "alias", "unmerge") and not (row.get("userId") or row.get("anonymousId")):
            warnings.append(f"was left out: this {row['type']} names no person by userId or anonymousId; what accounts "
                            "allow is for `nextbest accounts import`")
            return None
        rest = {name: row.get(name) for name in ("userId", "anonymousId", "timestamp", "originalTimestamp")}
        event = parsed(SegmentEvent, {"type": "track", "event": CONSENT_UPDATED, "context": context, **rest})
        happened = event.timestamp or event.original_timestamp
        if happened is None:
            raise ValueError(f"timestamp is missing: write {WRITE['timestamp']}")
        self._past(epoch_ms(happened), "timestamp")
        mapped = self._mapper.map(event, self._now_ms, "made up")
        warnings += mapped.warnings
        [said] = (one for one in mapped.events if isinstance(one, IdentityEvent))
        return _Said(said.subject, said.subject_type, said.consent, said.source or SOURCE, said.earlier)

    def statement(self, row: Row, _: list[str]) -> _Said:
        """One statement, in our own words."""
        given = parsed(StatementRow, row)
        subject = self._subject(given.type, given.id)
        at_ms = self._past(epoch_ms(given.at), "at")
        ends_ms = None if given.expires_at is None else epoch_ms(given.expires_at)
        if ends_ms is not None and ends_ms <= at_ms:
            raise ValueError("expires_at does not lie after at: write until when it holds, or leave it out")
        self._known(given.purpose, given.channel)
        grant = ConsentGrant(given.purpose, given.granted, at_ms, given.channel, given.source or SOURCE, ends_ms,
                             given.basis, given.opt_in, given.proof)
        return self._said(subject, [grant])

    def tc_string(self, purposes: Mapping[str, Purpose], mapping: Tcf, row: Row, _: list[str]) -> _Said:
        """What a TC string says about our purposes."""
        given = parsed(TcRow, row)
        subject = self._subject(given.type, given.id)
        at_ms = self._now_ms if given.at is None else self._past(epoch_ms(given.at), "at")
        try:
            written_ms = tcf.decode(given.tc_string).updated_ms
            if given.at is None:
                self._past(written_ms, "tc_string: the moment it was written")
            grants = of_tc_string(given.tc_string, mapping, purposes, at_ms)
        except tcf.TcfError as error:
            raise invalid(FieldError("/tc_string", str(error))) from error
        return self._said(subject, grants)

    def _subject(self, type_: str, value: str) -> Identifier:
        try:
            identifiers.type_of(type_)
        except identifiers.IdentifierError as error:
            raise invalid(FieldError("/type", str(error))) from error
        try:
            return self._hash_of(type_, value)
        except identifiers.IdentifierError as error:
            raise invalid(FieldError("/id", str(error))) from error

    def _said(self, subject: Identifier, grants: list[ConsentGrant]) -> _Said:
        return _Said(identifiers.key_of(self._tenant, subject), subject.type, grants, earlier=subject.earlier)

    def _past(self, at_ms: int, what: str) -> int:
        if at_ms < 0:
            raise ValueError(f"{what} lies before 1970: write when it was said")
        if at_ms > self._now_ms:
            raise ValueError(f"{what} lies in the future: is its time zone right, and this machine's clock?")
        return at_ms

    def _known(self, purpose: str, channel: str | None) -> None:
        """A misspelt name would be a refusal that nobody obeys."""
        for name, value in (("purpose", purpose), ("channel", channel)):
            if value and re.search("[/#]", value):
                raise invalid(FieldError(f"/{name}", "holds / or #: the purpose and the channel have a field each"))
        if self._policy is None:
            return
        if purpose not in self._policy.purposes:
            raise invalid(FieldError("/purpose", _unknown(self._policy.purposes)))
        if channel is not None and channel not in self._policy.channels:
            raise invalid(FieldError("/channel", _unknown(self._policy.channels)))


def _unknown(names: Iterable[str]) -> str:
    known = ", ".join(sorted(names)) or "it has none"
    return f"is none of the live policy ({known}): correct it, or publish a policy that has it"


def _event(said: _Said) -> IdentityEvent:
    grants = [grant if grant.source else replaced(grant, source=SOURCE) for grant in said.grants]
    content = json.dumps([astuple(grant) for grant in grants])
    event_id = digest("consent import", identifiers.oldest_key(said.subject, said.earlier), content)
    return IdentityEvent(event_id, said.subject, IdentityKind.CONSENT, max(grant.at_ms for grant in grants),
                         consent=grants, source=said.source, subject_type=said.subject_type, earlier=said.earlier)
