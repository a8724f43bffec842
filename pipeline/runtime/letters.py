"""A record that could not be used, as a dead letter that fits its topic whatever the record holds.

Brokers limit what is compressed: a record may unpack to far more than any topic takes. What does not fit is cut, and
the letter says so: a dead letter must never be what stops a worker.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from pipeline.core.model.records import DeadLetter
from pipeline.flow import Reason, Record

#: What is kept of a record; together well below what `dead.letters` takes.
VALUE_BYTES_MAX: Final = 8_388_608
HEADERS_BYTES_MAX: Final = 1_048_576
KEY_BYTES_MAX: Final = 32_768
DETAIL_CHARS_MAX: Final = 4_096


def letter_of(record: Record, reason: Reason, detail: str, flow: str, worker: str) -> DeadLetter:
    """The record's bytes as they are, or as many as are kept; `cut_bytes` counts the others."""
    key, key_cut = _kept("key", record.key, KEY_BYTES_MAX)
    value, value_cut = _kept("value", record.value, VALUE_BYTES_MAX)
    headers, headers_cut = _kept_headers(record.headers)
    cuts = (value_cut, key_cut, headers_cut)
    # A detail may quote what is text in JSON and not in UTF-8.
    advice = detail[:DETAIL_CHARS_MAX].encode(errors="replace").decode()
    said = "; ".join([advice, *(said for _, said in cuts if said)])
    return DeadLetter(
        reason=reason,
        detail=said,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        at_ms=record.at_ms,
        key=key,
        value=value,
        headers=headers,
        flow=flow,
        worker=worker,
        cut_bytes=sum(size for size, _ in cuts),
    )


def _kept(what: str, data: bytes | None, most: int) -> tuple[bytes | None, tuple[int, str]]:
    if data is None or len(data) <= most:
        return data, (0, "")
    return data[:most], (len(data) - most, f"the {what} has {len(data)} bytes, of which the first {most} are kept")


def _kept_headers(headers: Iterable[tuple[str, bytes | None]]) -> tuple[dict[str, bytes | None], tuple[int, str]]:
    """Whole headers only, as many as fit, in their order."""
    kept: dict[str, bytes | None] = {}
    dropped = size = cut = 0
    for name, value in headers:
        own = len(name.encode(errors="replace")) + len(value or b"")
        if size + own <= HEADERS_BYTES_MAX:
            kept[name] = value
            size += own
        else:
            dropped += 1
            cut += own
    return kept, (cut, f"{dropped} headers of {cut} bytes in all are left out" if dropped else "")
