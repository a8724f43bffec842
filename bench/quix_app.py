"""The same pipeline on Quix Streams: `python -m bench.quix_app BOOTSTRAP STATE_DIR`, in an environment of its own.

The core, the handlers and the codecs are ours; everything else is Quix Streams as its documentation recommends it: one
StreamingDataFrame, `apply(stateful=True)` on RocksDB with a changelog topic, (de)serializers of one's own, default
checkpoints (every 5 s, at least once). State is kept as bytes, so that its JSON encoder is not in the way.
"""

from __future__ import annotations

import sys
from typing import Any, Final

from quixstreams import Application, State  # type: ignore[import-not-found,unused-ignore]
from quixstreams.models import Deserializer, Serializer  # type: ignore[import-not-found,unused-ignore]

from bench.quix_topics import ASKED, GROUP, OUTPUTS
from pipeline.adapters.follower import Follower
from pipeline.agents import identity, requests
from pipeline.codecs import avro
from pipeline.codecs import state as state_codec
from pipeline.codecs.registry import NEWEST
from pipeline.core.live import Live
from pipeline.core.model import DecisionRequest
from pipeline.flow import Accept, DeadLetter, Emit, Outcome, Redirect
from pipeline.policy.directory import Directory
from pipeline.settings import Settings
from topics.catalog import CATALOG_ITEMS, DECISION_REQUESTS, IDENTITY_EVENTS, POLICY_RELEASES

STATE: Final = "profile"
FOLLOWER_S: Final = 30.0

_REQUEST: Final = NEWEST["decision_request"].id.to_bytes(4, "big")


class Events(Deserializer):  # type: ignore[misc,unused-ignore]
    """Our Avro. One topic carries both kinds of event: Quix would hold one of two topics back to align their times."""

    def __call__(self, value: bytes, ctx: Any) -> Any:
        return avro.decode(DECISION_REQUESTS if value[1:5] == _REQUEST else IDENTITY_EVENTS, value)


class Outputs(Serializer):  # type: ignore[misc,unused-ignore]
    """Our Avro, of the topic that the handler named."""

    def __call__(self, value: Emit, ctx: Any) -> bytes:
        return avro.encode(value.topic, value.value)


class Context:
    """What handlers may know; its time moves from record to record."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self.now_ms = 0

    def live(self, tenant: str) -> Live | None:
        return self._directory.live(tenant)


class Deciding:
    """One record: load the state, call the handler, keep the state, hand on what it wants sent."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def __call__(self, event: Any, key: bytes, at_ms: int, headers: Any, state: State) -> tuple[Emit, ...]:
        kept = state.get_bytes(STATE)
        profile = None if kept is None else state_codec.decode(kept)
        self._context.now_ms = at_ms
        handle = requests.handle if type(event) is DecisionRequest else identity.handle
        outcome: Outcome = handle(event, profile, self._context)
        if isinstance(outcome, DeadLetter | Redirect):
            raise TypeError(f"the benchmark's records are all good, and this one met {outcome}")
        if isinstance(outcome, Accept) and outcome.state is not None:
            state.set_bytes(STATE, state_codec.encode(outcome.state))
        return outcome.emits


def main(bootstrap: str, state_dir: str) -> None:
    """Runs until it is told to stop."""
    settings = Settings(bootstrap=bootstrap)
    directory = Directory()
    follower = Follower(settings, (POLICY_RELEASES, CATALOG_ITEMS), directory.apply)
    follower.start()
    if not follower.caught_up.wait(FOLLOWER_S):
        raise RuntimeError("policy and catalog were not read in time")
    app = Application(
        broker_address=bootstrap, consumer_group=GROUP, auto_offset_reset="earliest", state_dir=state_dir,
        loglevel="WARNING", producer_extra_config={"compression.type": "lz4"},
    )
    asked = app.topic(ASKED.name, key_deserializer="bytes", value_deserializer=Events())
    outputs = {
        name: app.topic(topic.name, key_serializer="str", value_serializer=Outputs())
        for name, topic in OUTPUTS.items()
    }
    stream = app.dataframe(asked).apply(Deciding(Context(directory)), stateful=True, metadata=True, expand=True)
    stream.to_topic(lambda emit, key, at_ms, headers: outputs[emit.topic.name], key=lambda emit: emit.key)
    app.run()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
