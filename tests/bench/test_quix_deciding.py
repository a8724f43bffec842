"""The peer keeps the same state and decides the same, encrypted as Nextbest's is; what differs fails the benchmark."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bench import compared, quix_topics
from bench.parts import BenchError
from bench.quix_deciding import Deciding
from pipeline.codecs import avro, encrypted_values
from pipeline.codecs import state as state_codec
from pipeline.codecs.encryption import KeyEncryption
from pipeline.codecs.keyring import Keyring
from pipeline.core.model.records import Decision, DecisionRequest
from pipeline.core.model.values import replaced
from pipeline.ports import Outbound
from pipeline.runtime.fates import LaneContext
from pipeline.runtime.memory import MemoryPipeline, counting_chance
from pipeline.topology import FLOWS
from tests.support import shop
from topics.catalog import BY_NAME, DECISION_AUDIT, DECISION_REQUESTS, DECISIONS, IDENTITY_EVENTS

SUBJECTS = ("shop/annabelle", "shop/bartholomew")


@dataclass
class Kept:
    """A Quix Streams state over its changelog."""

    subject: str
    changelog: dict[bytes, bytes]

    def _key(self, name: str) -> bytes:
        return f'{self.subject}|"{name}"'.encode()

    def get_bytes(self, name: str) -> bytes | None:
        return self.changelog.get(self._key(name))

    def set_bytes(self, name: str, value: bytes) -> None:
        self.changelog[self._key(name)] = value


@dataclass
class Peer:
    """The Quix Streams app without Quix Streams."""

    deciding: Deciding
    key_encryption: KeyEncryption
    changelog: dict[bytes, bytes] = field(default_factory=dict)
    said: list[Outbound] = field(default_factory=list)

    def take(self, subject: str, event: Any, at_ms: int) -> None:
        self.said += self.deciding(event, subject.encode(), at_ms, (), Kept(subject, self.changelog))

    def ring(self) -> Keyring:
        found = Keyring(self.key_encryption)
        for key, value in self.changelog.items():
            found.follow(0, quix_topics.subject_of(key), value)
        return found

    def records(self, topic: str = DECISIONS.name) -> list[tuple[bytes, bytes]]:
        return [(one.key, one.value or b"") for one in self.said if one.topic == topic]


@pytest.fixture
def sides(tmp_path: Path) -> tuple[MemoryPipeline, Peer]:
    """The same consents and requests through both."""
    ours = MemoryPipeline(FLOWS)
    for record in shop.publication(tmp_path):
        ours.send(BY_NAME[record.topic], record.key, record.value)
    key_encryption = KeyEncryption("peer", counting_chance())
    peer = Peer(Deciding(LaneContext(ours.directory.live), key_encryption, 7), key_encryption)
    for subject in SUBJECTS:
        events: list[Any] = [shop.consent(subject, 1), *(shop.request(f"{subject}-{n}", subject) for n in range(3))]
        for event in events:
            topic = DECISION_REQUESTS if isinstance(event, DecisionRequest) else IDENTITY_EVENTS
            ours.send(topic, subject, event)
            peer.take(subject, event, ours.clock.at_ms)
    ours.run()
    return ours, peer


def decided(ours: MemoryPipeline) -> dict[str, Any]:
    records = [(r.key or b"", r.value or b"") for log in ours.logs[DECISIONS.name] for r in log]
    return compared.decisions(ours.keyring(), records)


def test_both_sides_keep_the_same_and_decide_the_same(sides: tuple[MemoryPipeline, Peer]) -> None:
    ours, peer = sides
    theirs = compared.decisions(peer.ring(), peer.records())
    assert len(theirs) == 3 * len(SUBJECTS)
    compared.require_same("nextbest", decided(ours), "quix", theirs)
    for subject in SUBJECTS:
        value = Kept(subject, peer.changelog).get_bytes(quix_topics.STATE) or b""
        kept, cipher = encrypted_values.opened(peer.key_encryption, subject.encode(), value)
        assert kept.state is not None and cipher is not None
        assert state_codec.decode(kept.state) == ours.state(subject)


def test_the_peer_says_nothing_about_anybody_in_the_open(sides: tuple[MemoryPipeline, Peer]) -> None:
    _, peer = sides
    encrypted = [*peer.records(), *peer.records(DECISION_AUDIT.name)]
    assert len(encrypted) == 2 * 3 * len(SUBJECTS)
    names = [subject.partition("/")[2].encode() for subject in SUBJECTS]
    assert not [name for key, value in encrypted for name in names if name in key or name in value]
    assert {peer.ring().subject_of(key) for key, _ in encrypted} == {subject.encode() for subject in SUBJECTS}
    assert not [name for value in peer.changelog.values() for name in names if name in value]


def test_a_decision_that_differs_fails_the_benchmark(sides: tuple[MemoryPipeline, Peer]) -> None:
    ours, peer = sides
    key, data = peer.records()[0]
    ring = peer.ring()
    decision = ring.value(DECISIONS, key, data)
    assert isinstance(decision, Decision)
    subject = SUBJECTS[0].encode()
    cipher = peer.key_encryption.unwrapped(subject, ring.wrapped[subject], peer.key_encryption.nonces(9))
    other = avro.encode(DECISIONS, replaced(decision, decisions=[]), cipher)
    theirs = compared.decisions(ring, [(key, other), *peer.records()[1:]])
    with pytest.raises(BenchError, match="decided 1 of 6 requests differently"):
        compared.require_same("nextbest", decided(ours), "quix", theirs)
    with pytest.raises(BenchError, match="0 of 5 requests differently"):
        compared.require_same("quix", compared.decisions(ring, peer.records()[1:]), "nextbest", decided(ours))


def test_a_decision_that_is_not_encrypted_with_its_subjects_key_fails_the_benchmark(
    sides: tuple[MemoryPipeline, Peer]
) -> None:
    _, peer = sides
    ring = peer.ring()
    (key, data), (other, _) = peer.records()[0], peer.records()[-1]
    of_term = peer.key_encryption.of_term(peer.key_encryption.nonces(9))
    for records, why in (
        ([(key, avro.encode(DECISIONS, ring.value(DECISIONS, key, data)))], "not encrypted"),
        ([(b"", avro.encode(DECISIONS, ring.value(DECISIONS, key, data), of_term))],
         "not encrypted with a subject's key"),
        ([(other, data)], "cannot be opened"),
        ([(b"shop/nobody", data)], "cannot be opened"),
    ):
        with pytest.raises(BenchError, match=why):
            compared.decisions(ring, records)
