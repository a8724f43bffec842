"""How far a privacy job has come, worked out from what was asked for and what was answered. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from pipeline.core.hashing import digest
from pipeline.core.model.records import ErasureAction, ErasureReceipt, ErasureRequest

ACCEPTED = "accepted"
RUNNING = "running"
DONE = "done"


def job_id_of(tenant: str, action: ErasureAction, subject: str, repeat_key: str) -> str:
    """The id of a job: the same for the same question under the same key."""
    return digest("privacy", tenant, action, subject, repeat_key)


@dataclass(frozen=True, slots=True)
class Job:
    """One job. `status`: accepted (nobody has taken it up), running (parts are missing), done."""

    request: ErasureRequest
    status: str
    #: The receipt of the profile first, then one for each further identifier.
    receipts: list[ErasureReceipt] = field(default_factory=list)

    @property
    def identifiers(self) -> list[str]:
        """Every identifier of the subject, as far as is known by now."""
        found = [name for receipt in self.receipts for name in receipt.identifiers]
        return list(dict.fromkeys(found)) or [self.request.subject]

    @property
    def done_ms(self) -> int | None:
        """When the last of it was done; None while it is not."""
        return max(receipt.at_ms for receipt in self.receipts) if self.status == DONE else None


def job_of(requests: Iterable[ErasureRequest], receipts: Iterable[ErasureReceipt], job_id: str) -> Job | None:
    """The job of this id; None where nobody asked for it."""
    request = next((one for one in requests if one.job_id == job_id), None)
    if request is None:
        return None
    mine: dict[str, ErasureReceipt] = {}
    for receipt in receipts:
        if receipt.job_id == job_id and receipt.action is request.action:
            # Asked for again, the job is answered again; what it did, it did the first time.
            mine.setdefault(receipt.profile_id, receipt)
    whole = next((one for one in mine.values() if one.part_of is None), None)
    if whole is None:
        return Job(request, ACCEPTED if not mine else RUNNING, [])
    parts = [one for one in mine.values() if one is not whole]
    # Told of one, every part says under which names it is known besides; erased, these have receipts of their own.
    known = {name for one in mine.values() for name in one.identifiers}
    missing = (known if request.action is ErasureAction.ERASE else set(whole.identifiers)) - mine.keys()
    return Job(request, RUNNING if missing else DONE, [whole, *parts])


def subjects_of(receipts: Iterable[ErasureReceipt], subjects: Iterable[str]) -> set[str]:
    """The subjects and every identifier that an erasure or export has found to be theirs."""
    jobs: dict[str, set[str]] = {}
    for receipt in receipts:
        jobs.setdefault(receipt.job_id, {receipt.subject}).update((receipt.profile_id, *receipt.identifiers))
    found = set(subjects)
    for names in jobs.values():
        if found & names:
            found |= names
    return found
