"""Records' values to and from Confluent wire format: a zero byte, the schema's id in four, the Avro record by fastavro.

On the path of every record. Decides nothing about bad bytes but their reason; never repairs, never guesses.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any

import msgspec
from fastavro import parse_schema, schemaless_reader, schemaless_writer

from pipeline.codecs import refusals
from pipeline.codecs.checks import CHECKS
from pipeline.codecs.encryption import Cipher
from pipeline.codecs.errors import CodecError as CodecError
from pipeline.codecs.personal import Opened, PersonalFields
from pipeline.codecs.plain import Plain
from pipeline.codecs.registry import BY_ID, NEWEST, Schema
from pipeline.codecs.state import StateError
from pipeline.codecs.types import VALUE_TYPES
from pipeline.flow import Reason
from topics.catalog import Topic

HEADER_BYTES = 5


class _Codec:
    """One topic's codec: its newest schema and what it refuses."""

    def __init__(self, topic: Topic) -> None:
        if topic.schema is None:
            raise TypeError(f"{topic.name} carries opaque bytes: it has no schema to encode or decode with")
        self.topic = topic
        self.newest: Schema = NEWEST[topic.schema]
        self.parsed = parse_schema(self.newest.definition)
        self.type: type = VALUE_TYPES[topic.schema]
        self.plain = Plain(self.type, self.parsed)  # type: ignore[arg-type]  # a record's schema is a dict
        self.header = b"\0" + self.newest.id.to_bytes(4, "big")
        self.check = CHECKS.get(self.type)
        self.limit = topic.value_bytes_max
        self.personal = PersonalFields(self.newest, self.plain) if topic.encrypted else None

    def encode(self, value: Any, cipher: Cipher | None = None) -> bytes:
        if type(value) is not self.type:
            raise TypeError(f"{self.topic.name} carries {self.type.__name__}, not {type(value).__name__}")
        out = BytesIO()
        out.write(self.header)
        try:
            if cipher is None or self.personal is None:
                schemaless_writer(out, self.parsed, self.plain.to_dict(value), strict=True)
            else:
                self.personal.write(out, value, cipher)
        except refusals.UNWRITABLE as error:
            raise refusals.unwritable(error, self.newest, self.plain, value) from error
        data = out.getvalue()
        if len(data) > self.limit:
            raise self._too_large(len(data))
        return data

    def encode_checked(self, value: Any) -> bytes:
        data = self.encode(value)
        self._checked(value)
        return data

    def decode(self, data: bytes, opened: Opened | None = None) -> Any:
        plain, written = self._read(data)
        if opened is not None and self.personal is not None and plain["encrypted"] is not None:
            self.personal.open(plain, opened(plain["encrypted"], self.personal.purpose), written)
        return self.value_of(plain)

    def fields(self, data: bytes) -> tuple[dict[str, Any], Schema]:
        plain, written = self._read(data)
        self.value_of(dict(plain))  # which puts values of ours into the dict that it is given
        return plain, written

    def _read(self, data: bytes) -> tuple[dict[str, Any], Schema]:
        """The fields as the newest schema has them, and the schema that they were written with."""
        size = len(data)
        if size > self.limit:
            raise self._too_large(size)
        stream = BytesIO(data)
        if stream.read(HEADER_BYTES) == self.header:
            written, parsed, wanted = self.newest, self.parsed, None
        else:
            # Not written with the newest schema: with an older one, which fastavro resolves, or not this topic's.
            written, wanted = self._schema_of(data), self.parsed
            parsed = parse_schema(written.definition)
        try:
            plain: Any = schemaless_reader(stream, parsed, wanted)
        except refusals.UNREADABLE as error:
            raise refusals.unreadable(error, written, data, HEADER_BYTES, stream.tell()) from error
        if stream.tell() < size:
            raise refusals.left_over(size - stream.tell(), written)
        return plain, written

    def value_of(self, plain: dict[str, Any]) -> Any:
        try:
            value = self.plain.from_dict(plain)
        except msgspec.ValidationError as error:
            raise refusals.not_allowed(error, self.type) from error
        except StateError as error:
            raise CodecError(Reason.WRONG_TYPE, str(error)) from error
        self._checked(value)
        return value

    def _checked(self, value: Any) -> None:
        if self.check is not None and (problem := self.check(value)) is not None:
            raise CodecError(Reason.INVALID, problem)

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

    def _wanted(self) -> str:
        return f"{self.topic.schema}, schema id {self.newest.id} ({self.newest.file})"

    def _too_large(self, size: int) -> CodecError:
        return CodecError(
            Reason.TOO_LARGE,
            f"{size} bytes; {self.topic.name} takes at most {self.limit}: send less in one record",
        )


def encode(topic: Topic, value: Any, cipher: Cipher | None = None) -> bytes:
    """The value as bytes of the topic's newest schema; with a cipher, its personal fields encrypted.

    Raises CodecError where a part of it does not fit the schema or it is too large, TypeError for a type that the
    topic does not carry (a bug).
    """
    return _codec_of(topic).encode(value, cipher)


def encode_checked(topic: Topic, value: Any) -> bytes:
    """The value as `encode` has it, once it passes every check that decoding makes: for whoever sends what came from
    elsewhere, so that the sender is told, instead of a dead letter written.

    Not for the worker's output, which is made of checked records. Raises CodecError as `decode` would.
    """
    return _codec_of(topic).encode_checked(value)


def decode(topic: Topic, data: bytes | None, opened: Opened | None = None) -> Any:
    """The value that the bytes hold; what is encrypted in it stays so without `opened`.

    Raises CodecError, and nothing else, for any bytes whatever, but for what `opened` raises.
    """
    return _codec_of(topic).decode(_there(topic, data), opened)


def fields(topic: Topic, data: bytes | None) -> tuple[dict[str, Any], Schema]:
    """The value's fields as Avro has them, for whoever keeps them in another format, and the schema that it was written
    with. What is encrypted stays so.

    Raises CodecError for whatever `decode` refuses.
    """
    return _codec_of(topic).fields(_there(topic, data))


def value_of(topic: Topic, plain: dict[str, Any]) -> Any:
    """The value of these fields, as `fields` gives them and with nothing encrypted; puts values of ours into the dict.

    Raises CodecError for whatever `decode` refuses.
    """
    return _codec_of(topic).value_of(plain)


def _there(topic: Topic, data: bytes | None) -> bytes:
    if data is None:
        raise CodecError(
            Reason.NULL_VALUE,
            f"the value is null: {topic.name} takes no tombstones; send a value of schema {topic.schema}",
        )
    return data


_CODECS: dict[str, _Codec] = {}


def _codec_of(topic: Topic) -> _Codec:
    """Made at first use and kept by name: hashing a topic's every field for each record would cost more."""
    codec = _CODECS.get(topic.name)
    if codec is None or codec.topic is not topic:
        codec = _CODECS[topic.name] = _Codec(topic)
    return codec
