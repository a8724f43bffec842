"""Records with a header whose name is not UTF-8: the protocol allows them, and most clients cannot send them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from unittest import mock

from aiokafka import AIOKafkaProducer
from aiokafka.producer import message_accumulator
from aiokafka.producer import producer as producing
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy


class _OddName(str):
    """A name that is sent as bytes that are no UTF-8."""

    def encode(self, *_: object) -> bytes:
        return b"\xff\xfe"


def send(bootstrap: str, records: Iterable[tuple[str, bytes | None, bytes | None]]) -> None:
    """Send these records, each topic, key and value, under such a header; returns once the broker has them."""
    asyncio.run(_send(bootstrap, list(records)))


async def _send(bootstrap: str, records: list[tuple[str, bytes | None, bytes | None]]) -> None:
    # The compiled builder takes plain text only.
    places = {"DefaultRecordBatchBuilder": _DefaultRecordBatchBuilderPy}
    with mock.patch.multiple(message_accumulator, **places), mock.patch.multiple(producing, **places):
        producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
        await producer.start()
        try:
            for topic, key, value in records:
                await producer.send_and_wait(topic, value, key, headers=[(_OddName("odd"), b"1")])
        finally:
            await producer.stop()
