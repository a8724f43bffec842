"""Requests as records on one topic, answers as records on another, matched by the request id."""

from __future__ import annotations

import threading
import time
from typing import Final

from confluent_kafka import TopicPartition

from bench.inputs import Encoded
from bench.open_loop import Answers
from pipeline.adapters import kafka
from pipeline.settings import Settings

_ASK_S: Final = 10.0


class TopicTarget:
    """The Target port on two topics. An answer's key is the id of its request."""

    def __init__(
        self, settings: Settings, requests: list[tuple[str, Encoded]], ask: str, reply: str, reply_partition: int
    ) -> None:
        self._ask = ask
        self._records = [record for _, record in requests]
        self._index = {request_id.encode(): index for index, (request_id, _) in enumerate(requests)}
        self._producer = kafka.producer(settings, "bench")
        self._consumer = kafka.consumer(settings, name="bench")
        place = TopicPartition(reply, reply_partition)
        _, place.offset = self._consumer.get_watermark_offsets(place, timeout=_ASK_S)
        self._consumer.assign([place])
        self._stopping = False
        self._thread = threading.Thread(target=self._receive, daemon=True)

    def start(self, answers: Answers) -> None:
        self._answers = answers
        self._thread.start()

    def send(self, index: int) -> None:
        record = self._records[index]
        self._producer.produce(self._ask, record.value, record.key)
        self._producer.poll(0)

    def stop(self) -> None:
        self._stopping = True
        self._thread.join(5)
        self._consumer.close()
        self._producer.flush(_ASK_S)

    def _receive(self) -> None:
        while not self._stopping:
            message = self._consumer.poll(0.1)
            if message is None or message.error() is not None:
                continue
            now_s = time.perf_counter()
            index = self._index.get(bytes(message.key() or b""))
            if index is not None:
                self._answers.arrived(index, now_s, bytes(message.value() or b""))
