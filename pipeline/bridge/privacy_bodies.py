"""What the privacy endpoints take and give."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field

from pipeline.bridge.decide_bodies import Strict, Subject
from pipeline.core.identity.privacy_jobs import Job
from pipeline.core.model.bounds import NAME_CHARS_MAX
from pipeline.ingest.field_types import impersonal


class PrivacyBody(Strict):
    """Whose data, and who asks."""

    subject: Subject
    by: Annotated[str, Field(max_length=NAME_CHARS_MAX), AfterValidator(impersonal)] = Field(
        "", description="Who asked: a ticket's number, an officer. Kept as evidence: no personal data of the subject."
    )


class Receipt(BaseModel):
    """What was done about one identifier."""

    identifier: str = Field(description="Its keyed hash, as tenant/hash.")
    at_ms: int
    known: bool = Field(description="Whether anything was known of it.")
    unreadable: list[str] = Field(description="Topics and tables whose records about it cannot be opened any more.")


class PrivacyJob(BaseModel):
    """A job and how far it is."""

    job_id: str
    action: str
    status: str = Field(description="accepted, running or done.")
    asked_ms: int
    done_ms: int | None = None
    receipts: list[Receipt] = []
    document: dict[str, Any] | None = Field(None, description="Of an export that is done: everything known, opened.")


def told(job: Job, document: dict[str, Any] | None = None) -> dict[str, Any]:
    """The job as its endpoint and its command show it."""
    shown: dict[str, Any] = {
        "job_id": job.request.job_id, "action": str(job.request.action), "status": job.status,
        "asked_ms": job.request.at_ms, "done_ms": job.done_ms,
        "receipts": [
            {"identifier": one.profile_id, "at_ms": one.at_ms, "known": one.known, "unreadable": one.unreadable}
            for one in job.receipts
        ],
    }
    return shown if document is None else shown | {"document": document}
