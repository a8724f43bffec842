"""Records' values to and from Confluent wire format: a zero byte, the schema's id in four, the Avro record.

On the path of every record. Decides nothing about bad bytes but their reason; never repairs, never guesses.
"""

from __future__ import annotations

from typing import Any

from pipeline.codecs.checks import CHECKS
from pipeline.codecs.errors import CodecError as CodecError
from pipeline.codecs.evolve import read_older
from pipeline.codecs.generate import InvalidValueError, compile_record
from pipeline.codecs.registry import BY_ID, NEWEST, Schema
from pipeline.codecs.types import VALUE_TYPES
from pipeline.flow import Reason
from topics.catalog import INPUT_BYTES_MAX, RECORD_LIMIT_BYTES, Topic

HEADER_BYTES = 5


class _Codec:
    """One topic's codec: its newest schema's compiled functions and what it refuses."""

    def __init__(self, topic: Topic) -> None:
        if topic.schema is None:
            raise TypeError(f"{topic.name} carries opaque bytes: it has no schema to encode or decode with")
        self.topic = topic
        self.newest: Schema = NEWEST[topic.schema]
        self.type: type = VALUE_TYPES[topic.schema]
        self.compiled = compile_record(self.newest.definition, self.type)
        self.header = b"\0" + self.newest.id.to_bytes(4, "big")
        self.check = CHECKS.get(self.type)
        # The broker takes more on an input topic than is processed, so that too large a record becomes a dead letter.
        self.limit = RECORD_LIMIT_BYTES if topic.max_record_bytes == INPUT_BYTES_MAX else topic.max_record_bytes

    def encode(self, value: Any) -> bytes:
        if type(value) is not self.type:
            raise TypeError(f"{self.topic.name} carries {self.type.__name__}, not {type(value).__name__}")
        out = bytearray(self.header)
        try:
            self.compiled.write(out, value)
        except (TypeError, AttributeError, OverflowError, UnicodeEncodeError, ValueError) as error:
            raise CodecError(Reason.WRONG_TYPE, f"{self._at(error)}: {error}") from error
        if len(out) > self.limit:
            raise self._too_large(len(out))
        return bytes(out)

    def decode(self, data: bytes) -> Any:
        if data[:HEADER_BYTES] != self.header:
            return self._decode_other(data)
        size = len(data)
        if size > self.limit:
            raise self._too_large(size)
        try:
            value, end = self.compiled.read(data, HEADER_BYTES)
        except (IndexError, ValueError) as error:
            raise self._unreadable(error, self.newest) from error
        return self._checked(value, end, size)

    def _decode_other(self, data: bytes) -> Any:
        """Anything not written with the newest schema: an older version, or not this topic's at all."""
        if len(data) > self.limit:
            raise self._too_large(len(data))
        schema = self._schema_of(data)
        try:
            value, end = read_older(data, HEADER_BYTES, schema.definition, self.newest.definition, self.type)
        except (EOFError, IndexError, ValueError, TypeError, KeyError) as error:
            raise self._unreadable(error, schema) from error
        return self._checked(value, end, len(data))

    def _checked(self, value: Any, end: int, size: int) -> Any:
        if end > size:
            raise CodecError(Reason.TRUNCATED, self._cut(self.newest))
        if end < size:
            raise CodecError(
                Reason.WRONG_TYPE,
                f"{size - end} bytes are left after the record: send one record per value, "
                f"written with {self.newest.file}, which id {self.newest.id} names",
            )
        if self.check is not None and (problem := self.check(value)) is not None:
            raise CodecError(Reason.INVALID, problem)
        return value

    def _schema_of(self, data: bytes) -> Schema:
        """The schema the bytes name. Raises CodecError where they name none of this topic's."""
        if not data or data[0] != 0:
            seen = "the value is empty" if not data else f"the value starts with byte 0x{data[0]:02x}, not 0x00"
            hint = " (it looks like JSON)" if data[:1] in (b"{", b"[", b'"') else ""
            raise CodecError(
                Reason.NOT_AVRO, f"{seen}{hint}: send Avro in Confluent wire format with {self._wanted()}"
            )
        if len(data) < HEADER_BYTES:
            raise CodecError(Reason.TRUNCATED, f"only {len(data)} bytes: the schema's id alone takes {HEADER_BYTES}")
        number = int.from_bytes(data[1:HEADER_BYTES], "big")
        schema = BY_ID.get(number)
        if schema is None:
            raise CodecError(
                Reason.UNKNOWN_SCHEMA,
                f"no schema has the id {number}: {self.topic.name} takes {self._wanted()}; a producer that uses "
                "another registry must be told these ids, or this worker is older than the producer",
            )
        if schema.subject != self.topic.schema:
            raise CodecError(
                Reason.WRONG_SCHEMA,
                f"schema id {number} is {schema.subject}: {self.topic.name} takes {self._wanted()}",
            )
        return schema

    def _unreadable(self, error: Exception, schema: Schema) -> CodecError:
        cut = isinstance(error, (EOFError, IndexError))
        if cut or (isinstance(error, UnicodeDecodeError) and error.reason == "unexpected end of data"):
            return CodecError(Reason.TRUNCATED, self._cut(schema, error))
        reason = Reason.INVALID if isinstance(error, InvalidValueError) else Reason.WRONG_TYPE
        said = "holds text that is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        named = f"; write the record with {schema.file}, which id {schema.id} names"
        advice = "" if reason is Reason.INVALID else named
        return CodecError(reason, f"{self._at(error)} {said}{advice}")

    def _cut(self, schema: Schema, error: BaseException | None = None) -> str:
        at = f" in {self._at(error)}" if error is not None else ""
        return f"the bytes end{at} before the record does: send the whole record, written with {schema.file}"

    def _at(self, error: BaseException) -> str:
        return self.compiled.where(error) or "the record"

    def _wanted(self) -> str:
        return f"{self.topic.schema}, schema id {self.newest.id} ({self.newest.file})"

    def _too_large(self, size: int) -> CodecError:
        return CodecError(
            Reason.TOO_LARGE,
            f"{size} bytes; {self.topic.name} takes at most {self.limit}: send less in one record",
        )


def encode(topic: Topic, value: Any) -> bytes:
    """The value as bytes of the topic's newest schema.

    Raises CodecError where a part of it does not fit the schema or it is too large, TypeError for a type that the
    topic does not carry (a bug).
    """
    return _codec_of(topic).encode(value)


def decode(topic: Topic, data: bytes | None) -> Any:
    """The value that the bytes hold. Raises CodecError, and nothing else, for any bytes whatever."""
    if data is None:
        raise CodecError(
            Reason.NULL_VALUE,
            f"the value is null: {topic.name} takes no tombstones; send a value of schema {topic.schema}",
        )
    return _codec_of(topic).decode(data)


_CODECS: dict[str, _Codec] = {}


def _codec_of(topic: Topic) -> _Codec:
    """Made at first use and kept by name: hashing a topic's every field for each record would cost more."""
    codec = _CODECS.get(topic.name)
    if codec is None or codec.topic is not topic:
        codec = _CODECS[topic.name] = _Codec(topic)
    return codec
