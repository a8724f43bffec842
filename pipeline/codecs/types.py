"""Which type of the core each schema subject carries."""

from __future__ import annotations

from typing import Final

from pipeline.core import model

VALUE_TYPES: Final[dict[str, type]] = {
    "identity_event": model.IdentityEvent,
    "feedback_event": model.FeedbackEvent,
    "decision_request": model.DecisionRequest,
    "inbox_record": model.InboxRecord,
    "decision_reply": model.DecisionReply,
    "decision": model.Decision,
    "audit_record": model.AuditRecord,
    "segment_change": model.SegmentChange,
    "catalog_item": model.CatalogItem,
    "policy_release": model.PolicyRelease,
    "account": model.Account,
    "dead_letter": model.DeadLetterRecord,
    "erasure_request": model.ErasureRequest,
    "erasure_receipt": model.ErasureReceipt,
}
