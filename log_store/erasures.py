"""Erasures as the store knows them, and how they reach its keys.

Receipts are committed like every other record, as tags in manifests of their own chain. Then the keys of these tags are
taken out of every key file that there is, whether a manifest names it yet or not. A key file that is written later is
looked through by its writer before anything names it, by what the chain says after it was written. So either the one or
the other finds a key; whoever goes on behind a killed sink, and every sink at its start, does the first again.
"""

from __future__ import annotations

from collections.abc import Sequence

from log_store import subject_keys
from log_store.chain import Chain, Erasure, Lost, Manifest
from log_store.columns import LOGGED
from log_store.objects import Objects
from log_store.subject_keys import tag_of
from pipeline.codecs import avro
from pipeline.core.model.records import ErasureReceipt
from pipeline.flow import Record
from topics.catalog import ERASURE_RECEIPTS


class Erasures:
    """Who was erased."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._chain = Chain(objects, ERASURE_RECEIPTS.name)

    def tags(self) -> frozenset[str]:
        """The tags of everybody who was erased, as the store knows it now. Raises OSError."""
        return frozenset(one.tag for one in self._chain.refresh().summed().erased)

    def reach(self, topic: str | None = None) -> int:
        """Take the keys of everybody who was erased out of all key files, of one topic or of every one; how many."""
        tags = self.tags()
        if not tags:
            return 0
        topics = [one.name for one in LOGGED.values()] if topic is None else [topic]
        return sum(
            subject_keys.destroy(self._objects, name, tags)
            for one in topics
            for name in subject_keys.files(self._objects.names(f"{one}/_keys"))
        )


def store(chain: Chain, records: Sequence[Record], lost: Lost | None = None) -> bool:
    """Commit a batch of receipts; False where another sink was first. What cannot be read erases nobody.

    Raises OSError.
    """
    erased: dict[str, int] = {}
    for record in records:
        try:
            receipt = avro.decode(ERASURE_RECEIPTS, record.value)
        except avro.CodecError:
            continue
        if isinstance(receipt, ErasureReceipt) and receipt.action == "erase":
            for name in (receipt.profile_id, receipt.subject, *receipt.identifiers):
                erased[tag_of(name.encode())] = receipt.at_ms
    return chain.commit(
        Manifest(
            partition=records[0].partition,
            start=chain.next(records[0].partition),
            next=records[-1].offset + 1,
            lost=lost,
            erased=tuple(Erasure(tag=tag, at_ms=at_ms) for tag, at_ms in sorted(erased.items())),
            newest_ms=max(record.at_ms for record in records),
        )
    )
