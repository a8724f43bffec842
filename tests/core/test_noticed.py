"""Small bugs that were planted and that nothing noticed: each would be noticed here."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC
from typing import Any

import pytest
from confluent_kafka import KafkaError
from hypothesis import given
from hypothesis import strategies as st

from pipeline.bridge.asking import Asker, _Waiting
from pipeline.bridge.quotas import _Bucket
from pipeline.codecs.encryption import KeyEncryption
from pipeline.codecs.envelope import Envelope, encode
from pipeline.codecs.keyring import Keyring
from pipeline.core.decide import caps
from pipeline.core.decide.decision import decide
from pipeline.core.decide.experiments import drawn
from pipeline.core.identity import rotation
from pipeline.core.model.definitions import Cap, Matcher, Signal
from pipeline.core.model.records import ConsentGrant, IdentityKind
from pipeline.core.model.windows import Calendar, Rolling, Window
from pipeline.core.model.words import Basis
from pipeline.core.rules import signals
from pipeline.core.sections.counters import Counter
from pipeline.core.sections.section import changed
from pipeline.core.subject import Account, Person
from pipeline.runtime import takeover

from .build import agreed, asked, made
from .test_identity_agrees import _allowed, _consenting, _said
from .test_links import NOW_MS, act, identify

DAY_MS = 86_400_000


@pytest.mark.parametrize(("given_for", "decided"), [
    ((), False), (("marketing",), False), (("personalization",), False), (("personalization", "marketing"), True)])
def test_every_purpose_of_a_channel_must_be_given(given_for: tuple[str, ...], decided: bool) -> None:
    live = made({}, {"a": {}})
    profile = Person(profile_id="shop/subject", consent={name: ConsentGrant(name, True, 1) for name in given_for})
    result = decide(asked(channel="email"), profile, live, NOW_MS)
    assert (result.reason == "decided") == decided


_windows = st.one_of(
    st.builds(lambda days: Rolling(days * DAY_MS), st.integers(1, 40)),
    st.builds(lambda unit, count: Calendar(unit=unit, count=count),
              st.sampled_from(["minute", "hour", "day", "week", "month"]), st.integers(1, 5)))


@given(_windows, st.floats(0.0, 1.0, exclude_max=True))
def test_tidying_forgets_no_moment_that_a_window_still_has(window: Window, part: float) -> None:
    start_ms = window.start_ms(NOW_MS, UTC)
    at_ms = int(start_ms + part * (NOW_MS - start_ms))
    cap = Cap("c", "click", "item", window, 5)
    many = {f"c|{number}": Counter((at_ms,), 1) for number in range(600)}
    old = {f"c|old{number}": Counter((0,), 1) for number in range(5)}
    kept = caps.bounded(many | old, {"c": cap}, {}, NOW_MS)
    assert kept == many


def test_what_undoes_a_sequence_at_its_very_first_moment_undoes_it() -> None:
    signal = Signal("s", "sequence", (Matcher(), Matcher()), without=Matcher(), keys=("a", "b", "c"))
    happened: dict[str, tuple[int, ...]] = {"a": (5,), "b": (6,)}
    assert signals.value(signal, Person(behaviour=happened), 9) is True
    assert signals.value(signal, Person(behaviour={**happened, "c": (5,)}), 9) is False
    assert signals.value(signal, Person(behaviour={**happened, "c": (4,)}), 9) is True


def test_a_declared_salt_deals_the_arms() -> None:
    def arms(name: str, **more: str) -> list[str]:
        live = made({"experiments": {name: {"variations": {"a": {}, "b": {}}, **more}}})
        found = [drawn(live.policy.experiments[0], f"shop/{number}") for number in range(200)]
        return [arm.id for arm in found if arm is not None]

    assert arms("e") != arms("e", salt="other") and arms("e", salt="x") == arms("f", salt="x") != arms("f")


def test_a_recorded_chance_leaves_out_what_the_caps_of_this_request_stop() -> None:
    items = {name: {"attributes": {"value": value}, "tags": tags} for name, value, tags in (
        ("a", 6.0, ["t"]), ("b", 3.0, ["t"]), ("c", 1.0, []), ("d", 1.0, []))}
    live = made({"rankings": {"draw": {"formula": "candidate.value", "lottery": True}},
                 "caps": {"one": {"count": "decision", "per": "tag", "limit": 1, "window": "1d"}},
                 "placements": {"tiles": {"ranking": "draw"}}}, items)
    for number in range(60):
        first, second, *_ = decide(asked(f"r{number}", "tiles", max_variants=2), agreed(), live, NOW_MS).decisions
        if first.item_id in "ab":
            assert second.item_id in "cd" and second.propensity == 0.5


def test_an_objection_to_the_whole_goes_back_with_a_part() -> None:
    shop = _consenting()
    shop.send(_said("a1", "ads", True, NOW_MS - 30, Basis.LEGITIMATE_INTEREST), identify("u1", "a1"),
              _said("u1", "ads", False, NOW_MS + 10, Basis.LEGITIMATE_INTEREST),
              act(IdentityKind.UNMERGE, "a1", "undo", NOW_MS + 50))
    assert not _allowed(shop, "a1") and not _allowed(shop, "u1")


def test_an_account_goes_on_numbering_its_leases_under_a_new_key() -> None:
    own = Account(profile_id="shop/@new", version=2, leases=3)
    both = rotation.joined(own, Account(profile_id="shop/@old", version=7, leases=9), NOW_MS)
    assert (both.version, both.leases) == (7, 9)
    assert rotation.joined(changed(own, leases=11), Account(profile_id="shop/@old", leases=9), NOW_MS).leases == 11


class _Ended:
    """A consumer of a partition whose last records compaction has taken."""

    def consume(self, number: int, timeout: float) -> list[Any]:
        return [self]

    def error(self) -> Any:
        return self

    def code(self) -> int:
        code: int = KafkaError._PARTITION_EOF
        return code


def test_reading_ends_where_the_partition_does_though_fewer_records_are_left() -> None:
    consumer: Any = _Ended()
    batches = takeover._batches(consumer, 10)
    assert [next(batches, "ended"), next(batches, "ended")] == [[], "ended"]


def test_a_running_reader_opens_nothing_of_who_was_erased() -> None:
    key_encryption = KeyEncryption("an installation's key", os.urandom)
    ring = Keyring(key_encryption)
    cipher = key_encryption.new_key(b"shop/ann", key_encryption.nonces(1))
    ring.learn(b"shop/ann", encode(Envelope(epoch=1, key=cipher.wrapped)))
    assert ring.subject_of(cipher.pseudonym) == b"shop/ann"
    ring.learn(b"shop/ann", encode(Envelope(epoch=1)))
    assert ring.subject_of(cipher.pseudonym) is None and not ring.knows(cipher.pseudonym)


def test_a_bucket_holds_no_more_than_one_second_of_its_rate() -> None:
    bucket = _Bucket(10, 10.0, 0.0)
    assert bucket.take(10, 1_000.0) == 0.0
    assert bucket.take(1, 1_000.0) > 0.0


def test_to_forget_one_caller_keeps_the_others_under_the_same_id() -> None:
    async def run() -> None:
        one, other = _Waiting("r", "d1", ""), _Waiting("r", "d2", "")
        asker = Asker.__new__(Asker)
        asker._waiting = {"r": [one, other]}
        asker._forget(one)
        assert asker._find("r", "d2") is other and asker._find("r", "d1") is None
        asker._forget(other)
        assert asker._waiting == {}

    asyncio.run(run())
