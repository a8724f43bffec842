"""Dead letters as text and as JSON. Pure: reads no topic and prints nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pipeline.adapters.dead_letters import Letter
from pipeline.codecs.registry import BY_ID
from pipeline.core.model.moments import millis
from pipeline.core.rules import readers

#: How many of a value's bytes are shown as text; `--json` has them all.
SHOWN_BYTES: Final = 2048
_ROW_BYTES: Final = 16


def parse_since(text: str, now_ms: int) -> int:
    """Epoch milliseconds of `2h` before now or of an ISO time (UTC where it names no zone). Raises ValueError."""
    try:
        return max(0, now_ms - readers.length(text) // timedelta(milliseconds=1))
    except readers.Unreadable:
        pass
    try:
        return millis(readers.moment(text))
    except readers.Unreadable:
        raise ValueError(f"--since {text!r} is no time: give 90s, 15m, 2h, 7d or 2026-11-21T08:00Z") from None


def printable(data: bytes | None, limit: int) -> str:
    """The bytes as one line of text, what is no text as a dot."""
    if data is None:
        return "(null)"
    if not data:
        return "(empty)"
    text = "".join(char if char.isprintable() else "." for char in data[: limit * 4].decode("utf-8", "replace"))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def hex_dump(data: bytes, limit: int = SHOWN_BYTES) -> str:
    """Offset, hex and text, sixteen bytes a line, like `xxd`."""
    lines = []
    for start in range(0, min(len(data), limit), _ROW_BYTES):
        row = data[start : start + _ROW_BYTES]
        text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
        lines.append(f"{start:08x}  {row.hex(' '):<47}  {text}")
    if len(data) > limit:
        lines.append(f"… {len(data) - limit} more bytes; --json prints all of them")
    return "\n".join(lines)


def schema_named(value: bytes | None) -> str:
    """What the value's first bytes say about its schema."""
    if not value or value[0] != 0 or len(value) < 5:
        return "none named"
    number = int.from_bytes(value[1:5], "big")
    schema = BY_ID.get(number)
    return f"id {number}, " + (schema.file if schema is not None else "unknown here")


def describe(letter: Letter) -> str:
    """Everything about one letter, for reading."""
    record = letter.record
    value = record.value
    headers = [f"  {name}: {printable(held, 200)}" for name, held in record.headers.items()]
    size = "null" if value is None else f"{len(value)} bytes, schema {schema_named(value)}"
    return "\n".join(
        [
            f"Dead letter {letter.id}",
            f"Reason      {record.reason}",
            f"Detail      {record.detail}",
            f"What to do  {letter.advice}",
            f"Record of   {_iso(record.at_ms)}",
            f"Written     {_iso(letter.written_at_ms)} by flow {record.flow} of worker {record.worker}",
            f"Replayed    {letter.replays} time(s)" if letter.replays else "Replayed    never",
            f"Key         {printable(record.key, 200)}" + (f"  ({record.key.hex()})" if record.key else ""),
            "Headers" + ("     none" if not headers else ""),
            *headers,
            *([f"Left out    {record.cut_bytes} bytes, more than a dead letter holds"] if record.cut_bytes else []),
            f"Value       {size}",
            *([hex_dump(value)] if value else []),
        ]
    )


def as_dict(letter: Letter, with_value: bool) -> dict[str, Any]:
    """The letter for programs; bytes as hex."""
    record = letter.record
    told: dict[str, Any] = {
        "id": letter.id,
        "reason": record.reason,
        "detail": record.detail,
        "advice": letter.advice,
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "at_ms": record.at_ms,
        "written_at_ms": letter.written_at_ms,
        "key_hex": _hex(record.key),
        "key_text": None if record.key is None else record.key.decode("utf-8", "replace"),
        "headers_hex": {name: _hex(held) for name, held in record.headers.items()},
        "flow": record.flow,
        "worker": record.worker,
        "replays": letter.replays,
        "cut_bytes": record.cut_bytes,
    }
    if with_value:
        told["value_hex"] = _hex(record.value)
        told["value_text"] = None if record.value is None else record.value.decode("utf-8", "replace")
    return told


def _hex(data: bytes | None) -> str | None:
    return None if data is None else data.hex()


def _iso(at_ms: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms)).isoformat(timespec="milliseconds")
