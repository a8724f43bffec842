"""The null worker: the same hops as a decision, with nothing in between. `python -m bench.null_worker BOOTSTRAP`.

A request is read, one record of the size of a decision's changelog records is written and acknowledged, and a fixed
reply goes out: durable before visible, and no work at all. Through the bridge, that is the limit of this design.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any, Final

from pipeline.adapters import kafka
from pipeline.codecs import avro
from pipeline.core.hashing import decision_id_of
from pipeline.core.model.records import Chosen, DecisionReply, DecisionRequest
from pipeline.settings import Settings
from topics.catalog import DECISION_REPLIES, DECISION_REQUESTS

CHANGELOG: Final = "bench.null.changelog"

#: What a first decision with the example policy writes to the changelog, all its records together.
WRITE_BYTES: Final = 3_471


def serve(settings: Settings) -> None:
    """Never returns."""
    overrides: dict[str, Any] = {
        "enable.auto.commit": True, "enable.auto.offset.store": True,
        "auto.commit.interval.ms": settings.commit_interval_ms,
    }
    # The workers' own group: by what it commits a bridge knows that requests are taken.
    consumer = kafka.consumer(settings, settings.app_id, "null", **overrides)
    writer = kafka.producer(settings, "null-changelog", **kafka.UNCOMPRESSED)
    replier = kafka.producer(settings, "null-replies")
    state = bytes(WRITE_BYTES)

    def written(request: DecisionRequest, error: Any, _message: Any) -> None:
        if error is None and request.reply_partition is not None:
            shown = [Chosen("nothing", "content", place, "default", 0, 60) for place in request.placements]
            decision_id = decision_id_of(request.subject, request.request_id, request.earlier)
            reply = DecisionReply(request.request_id, decision_id, shown, False, "decided")
            replier.produce(DECISION_REPLIES.name, avro.encode(DECISION_REPLIES, reply), request.request_id.encode(),
                            request.reply_partition)

    consumer.subscribe([DECISION_REQUESTS.name])
    while True:
        message = consumer.poll(0.001)
        if message is not None and message.error() is None:
            request = avro.decode(DECISION_REQUESTS, message.value())
            writer.produce(CHANGELOG, state, message.key(), message.partition() or 0,
                           on_delivery=partial(written, request))
        writer.poll(0)
        replier.poll(0)


if __name__ == "__main__":
    serve(Settings(bootstrap=sys.argv[1]))
