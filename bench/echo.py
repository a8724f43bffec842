"""The bare echo: what the broker and the client library take by themselves. `python -m bench.echo BOOTSTRAP PARTITION`.

Consumes one topic and produces each record, unchanged, to another one; keeps nothing and does nothing. Its producer is
the project's own (idempotent, acknowledged by all replicas).
"""

from __future__ import annotations

import sys
from typing import Any, Final

from pipeline.adapters import kafka
from pipeline.settings import Settings

ASK: Final = "bench.echo.requests"
REPLY: Final = "bench.echo.replies"
GROUP: Final = "bench-echo"


def echo(settings: Settings, reply_partition: int) -> None:
    """Never returns."""
    overrides: dict[str, Any] = {"enable.auto.commit": True, "enable.auto.offset.store": True}
    consumer = kafka.consumer(settings, GROUP, "echo", **overrides)
    producer = kafka.producer(settings, "echo")
    consumer.subscribe([ASK])
    while True:
        message = consumer.poll(0.1)
        if message is not None and message.error() is None:
            producer.produce(REPLY, message.value(), message.key(), reply_partition)
        producer.poll(0)


if __name__ == "__main__":
    echo(Settings(bootstrap=sys.argv[1]), int(sys.argv[2]))
