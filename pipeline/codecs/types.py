"""Which type of the core each schema subject carries."""

from __future__ import annotations

from typing import Final

from pipeline.core.model import records

VALUE_TYPES: Final[dict[str, type]] = {
    "identity_event": records.IdentityEvent,
    "feedback_event": records.FeedbackEvent,
    "decision_request": records.DecisionRequest,
    "inbox_record": records.InboxRecord,
    "decision_reply": records.DecisionReply,
    "decision": records.Decision,
    "audit_record": records.AuditRecord,
    "segment_change": records.SegmentChange,
    "catalog_item": records.CatalogItem,
    "policy_release": records.PolicyRelease,
    "account": records.Account,
    "dead_letter": records.DeadLetterRecord,
    "erasure_request": records.ErasureRequest,
    "erasure_receipt": records.ErasureReceipt,
}
