"""The same pipeline on Quix Streams: `python -m bench.quix_app BOOTSTRAP STATE_DIR`, in an environment of its own.

The core, the handlers, the codecs and the encryption are ours; everything else is Quix Streams as its documentation
recommends it: one StreamingDataFrame, `apply(stateful=True)` on RocksDB with a changelog topic, (de)serializers of
one's own, default checkpoints (every 5 s, at least once). State is kept as bytes, so that its JSON encoder is not in
the way, and encrypted as Nextbest's is, each subject's key with the value, decisions and audits under the pseudonym
(bench/quix_deciding.py). On which partition they are is left to that key: `to_topic` takes none.
"""

from __future__ import annotations

import sys
import time
from typing import Any, Final

from quixstreams import Application  # type: ignore[import-not-found,unused-ignore]
from quixstreams.models import Deserializer, Serializer  # type: ignore[import-not-found,unused-ignore]

from bench.quix_deciding import Deciding
from bench.quix_topics import ASKED, GROUP, OUTPUTS
from pipeline.adapters.follower import Follower
from pipeline.adapters.keys import key_encryption_of
from pipeline.codecs import avro
from pipeline.codecs.registry import NEWEST
from pipeline.policy.directory import Directory
from pipeline.ports import Outbound
from pipeline.runtime.fates import LaneContext
from pipeline.settings import Settings
from topics.catalog import CATALOG_ITEMS, DECISION_REQUESTS, IDENTITY_EVENTS, POLICY_RELEASES

FOLLOWER_S: Final = 30.0

_REQUEST: Final = NEWEST["decision_request"].id.to_bytes(4, "big")


class Events(Deserializer):  # type: ignore[misc,unused-ignore]
    """Our Avro. One topic carries both kinds of event: Quix would hold one of two topics back to align their times."""

    def __call__(self, value: bytes, ctx: Any) -> Any:
        return avro.decode(DECISION_REQUESTS if value[1:5] == _REQUEST else IDENTITY_EVENTS, value)


class Outputs(Serializer):  # type: ignore[misc,unused-ignore]
    """Our Avro, which is already written: what is encrypted in it needs the key that was opened with the state."""

    def __call__(self, value: Outbound, ctx: Any) -> bytes | None:
        return value.value


def main(bootstrap: str, state_dir: str) -> None:
    """Runs until it is told to stop."""
    settings = Settings(bootstrap=bootstrap)
    directory = Directory(loading=True)
    follower = Follower(settings, (POLICY_RELEASES, CATALOG_ITEMS), directory.apply, directory.loaded)
    follower.start()
    if not follower.caught_up.wait(FOLLOWER_S):
        raise RuntimeError("policy and catalog were not read in time")
    app = Application(
        broker_address=bootstrap, consumer_group=GROUP, auto_offset_reset="earliest", state_dir=state_dir,
        loglevel="WARNING", producer_extra_config={"compression.type": "lz4"},
    )
    # No process before this one began in the same second, so none had the same nonces.
    deciding = Deciding(LaneContext(directory.live), key_encryption_of(settings), term=int(time.time()))
    asked = app.topic(ASKED.name, key_deserializer="bytes", value_deserializer=Events())
    outputs = {
        name: app.topic(topic.name, key_serializer="bytes", value_serializer=Outputs())
        for name, topic in OUTPUTS.items()
    }
    stream = app.dataframe(asked).apply(deciding, stateful=True, metadata=True, expand=True)
    stream.to_topic(lambda out, key, at_ms, headers: outputs[out.topic], key=lambda out: out.key)
    app.run()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
