"""What lies in a message that librdkafka read, whatever its producer put there."""

from __future__ import annotations

from operator import methodcaller
from typing import Any, Final

from confluent_kafka import Message

from pipeline.flow import Record

#: Called the general way, which looks for an exception. For a name that is not UTF-8 `Message.headers` sets one and
#: returns a list with holes all the same: a direct call would go on, and raise somewhere else later.
_headers: Final[Any] = methodcaller("headers")


def headers_of(message: Message) -> tuple[tuple[str, bytes | None], ...]:
    """The headers. Raises ValueError where the name of one is not UTF-8."""
    try:
        return tuple(_headers(message) or ())
    except (SystemError, UnicodeDecodeError) as error:
        raise ValueError("a header's name is not UTF-8: name headers in UTF-8") from error


def record_of(message: Message) -> Record:
    """A message without an error."""
    headers: tuple[tuple[str, bytes | None], ...] = ()
    unreadable = ""
    try:
        headers = headers_of(message)
    except ValueError as error:
        unreadable = str(error)
    return Record(
        message.topic() or "",
        message.partition() or 0,
        message.offset() or 0,
        message.timestamp()[1],
        message.key(),
        message.value(),
        headers,
        unreadable,
    )
