"""A repeat is known however late it comes, whatever was remembered and merged in between."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.model.records import FeedbackEvent, FeedbackKind
from pipeline.core.sections.seen import EVENTS_MAX, NOTHING, Seen
from pipeline.flow import Reason

from .small_world import SmallWorld
from .test_links import NOW_MS, clicks, identify, world


def _batch(size: int, kind: FeedbackKind = FeedbackKind.CLICK, start: int = 0) -> list[FeedbackEvent]:
    return [FeedbackEvent(f"e{number}", "shop/u1", kind, NOW_MS + number) for number in range(start, start + size)]


def _shop() -> SmallWorld:
    shop = world()
    shop.now_ms += 1_000_000
    return shop


@pytest.mark.parametrize("size", [129, 200, 500, EVENTS_MAX, 3 * EVENTS_MAX])
def test_a_batch_sent_twice_is_counted_once(size: int) -> None:
    shop = _shop()
    shop.send(*_batch(size), *_batch(size))
    assert clicks(shop, "u1") == size
    assert shop.reasons[Reason.DUPLICATE_EVENT] + shop.reasons[Reason.TOO_OLD] == size


def test_an_old_import_sent_again_after_live_events_is_counted_once() -> None:
    shop = _shop()
    shop.send(*_batch(800), *_batch(900, start=10_000), *_batch(800))
    assert clicks(shop, "u1") == 1_700


def test_a_merge_remembers_what_either_side_did() -> None:
    shop = _shop()
    visitor = [FeedbackEvent(f"v{number}", "shop/a1", FeedbackKind.CLICK, NOW_MS + 2 * number) for number in range(700)]
    shop.send(*_batch(700), *visitor, identify("u1", "a1", at_ms=NOW_MS + 5_000), *visitor, *_batch(700))
    assert clicks(shop, "u1") == 1_400


def test_an_identity_event_is_applied_whatever_its_age() -> None:
    shop = _shop()
    shop.send(*_batch(EVENTS_MAX + 10), identify("u1", at_ms=NOW_MS - 10, plan="pro"))
    assert shop.states["shop/u1"].traits["plan"].value == "pro"


_events = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3_000)), max_size=60)


@given(_events, _events)
def test_what_was_taken_up_is_known_or_too_old(first: list[tuple[int, int]], second: list[tuple[int, int]]) -> None:
    """Against a plain set; the memory is made small by filling it beforehand."""
    full = NOTHING
    for number in range(EVENTS_MAX - 20):
        full = full.after(f"old{number}", 5_000)
    known: dict[str, int] = {}
    sides = []
    for side, events in enumerate((first, second)):
        seen = full
        for number, at_ms in events:
            id_ = f"{side}-{number}-{at_ms}"
            if id_ not in seen and not seen.too_old(at_ms):
                seen = seen.after(id_, at_ms)
                known[id_] = at_ms
        sides.append(seen)
    for seen in (*(sides if not known else ()), sides[0].beside(sides[1]), sides[1].beside(sides[0])):
        assert len(seen) <= EVENTS_MAX
        assert all(id_ in seen or seen.too_old(at_ms) for id_, at_ms in known.items())
        assert "never" not in seen
    assert sides[0].beside(sides[1]) == sides[1].beside(sides[0])


def test_a_hash_within_another_entry_is_no_repeat() -> None:
    seen = NOTHING.after("a", 1).after("b", 2)
    shifted = Seen(seen.packed[1:] + b"\0")
    assert "a" not in shifted and "a" in seen
