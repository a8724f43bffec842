"""The summary holds every figure, in JSON and in what a person reads, whole or partial."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

from rich.console import Console

from pipeline.core.model.records import Chosen, DecisionReply
from replay_log.audits import Refusals
from replay_log.render import render
from replay_log.render_estimates import verdict
from replay_log.replayer import Ended
from replay_log.rows import Impression
from replay_log.summary import About, summarise, top_items
from replay_log.tally import BAD_ROWS_TOLD, ItemCount, Tally

ABOUT = About(
    "log.csv", "r1", "shop", "asked for 50 rows/s", 256, ("subjects. All of them.",), credit="Data: somebody.")


def reply(item: str, reason: str = "decided", fallback: bool = False) -> DecisionReply:
    one = Chosen(item, "content", "home", "v", 1, 60, fallback=fallback)
    return DecisionReply("q", "d", [one], fallback, reason)


def tally() -> Tally:
    """Ten rows: six decided (two as logged), one without consent, two capped, one unanswered; a is clicked twice."""
    made = Tally(subjects=4, unanswered=1, resent=3, held_back=2)
    answers = [reply("a")] * 3 + [reply("b")] * 3 + [reply("x", "no_consent", True)] + [reply("x", "capped", True)] * 2
    for row in range(10):
        item = "a" if row in (0, 1, 9) else "c"
        impression = Impression(row + 1, "s", item, "home", "web", clicked=row in (0, 9), propensity=0.5)
        made.logged(impression)
        if row < 9:
            made.answer(impression, answers[row], latency_ms=row + 1.0)
    made.events.update(view=10, click=2)
    made.bad_row(11, "user: empty")
    return made


def summary(ended: Ended | None = None, refusals: Refusals | None = None) -> dict[str, Any]:
    return summarise(ABOUT, tally(), ended or Ended(2.0, None), refusals or Refusals(8, 3, 7))


def shown(data: dict[str, Any]) -> str:
    out = StringIO()
    render(Console(file=out, width=120), data)
    return out.getvalue()


def test_the_summary_of_ten_rows_counted_by_hand() -> None:
    data = summary()
    assert data["requests"] == {"sent": 10, "answered": 9, "unanswered": 1, "resent": 3, "held_back": 2}
    assert data["load"] == {"elapsed_s": 2.0, "rows_per_s": 5.0, "pace": "asked for 50 rows/s", "window": 256}
    assert data["latency_ms"]["max"] == 9.0
    assert abs(data["latency_ms"]["p50"] - 5.0) < 0.06
    decisions = data["decisions"]
    assert decisions["by_reason"] == {"decided": 6, "capped": 2, "no_consent": 1}
    assert decisions["fallback_share"] == 3 / 9
    assert decisions["consent_refusals"] == 1
    assert decisions["cap_refusals"] == {
        "answers": 2, "audited_decisions": 8, "decisions_with_a_capped_candidate": 3, "candidates": 7,
    }
    assert data["rows"] == {"replayed": 10, "bad": 1, "bad_told": ["row 11: user: empty"]}
    estimate = data["estimates"]["click"]
    assert (estimate["rows"], estimate["matches"], estimate["match_rewarded"]) == (6, 2, 1)
    assert estimate["snips"] == 0.5


def test_items_are_ranked_by_what_is_sure_of_their_click_rate() -> None:
    top = summary()["items"]["top"]
    assert [(item["item"], item["impressions"], item["clicks"], item["chosen_by_us"]) for item in top] == [
        ("a", 3, 2, 3), ("c", 7, 0, 0),
    ]
    assert summary()["items"]["logged"] == 2


def test_one_lucky_click_does_not_make_a_top_item() -> None:
    made = Tally(items={"lucky": ItemCount(1, 1), "good": ItemCount(100, 40), "shown": ItemCount(50, 0)})
    assert [name for name, _ in top_items(made)] == ["good", "lucky", "shown"]


def test_the_summary_is_json() -> None:
    assert json.loads(json.dumps(summary())) == summary()


def test_a_person_reads_every_figure() -> None:
    text = shown(summary())
    for part in (
        "Replay of log.csv done (run r1)", "Data: somebody.", "Simulated: subjects. All of them.",
        "10, 1 bad", "view 10, click 2", "10, 9 answered", "1 unanswered, 3 sent again", "5 rows/s over 2.0 s",
        "p50 5.0 ms", "decided", "6 (66.67 %)", "no_consent", "1 (11.11 %)", "7, in 3 of 8 decisions",
        "ours, replay estimate", "1 clicks in 2 matches", "too few",
        "A policy that learns", "Learnt from 5 rows", "An estimate, not a measurement",
        "row 11: user: empty",
    ):
        assert part in " ".join(text.split()), part


def test_where_nothing_is_a_terminal_there_are_no_escapes() -> None:
    assert "\x1b" not in shown(summary())


def test_a_partial_summary_says_how_to_go_on() -> None:
    text = shown(summary(Ended(2.0, 7, "the broker went away")))
    assert "stopped early" in text
    assert "Broke off: the broker went away" in text
    assert "--skip 7 --run r1" in text


def test_a_summary_of_nothing_can_be_shown() -> None:
    empty = summarise(ABOUT, Tally(), Ended(0.0, 0), None)
    assert empty["load"]["rows_per_s"] is None
    assert "stopped early" in shown(empty)


def test_only_the_first_bad_rows_are_told() -> None:
    made = Tally()
    for row in range(50):
        made.bad_row(row, "no")
    assert (made.bad_rows, len(made.bad_rows_told)) == (50, BAD_ROWS_TOLD)


def estimate(matches: int, clicks: int, logged: int) -> dict[str, Any]:
    made = Tally()
    for row in range(1_000):
        matched = row < matches
        clicked = row < clicks or 1_000 - row <= logged - clicks
        made.replayed.add(matched, Impression(row, f"s{row}", "a", "home", "web", clicked=clicked, propensity=0.5))
    found: dict[str, Any] = summarise(ABOUT, made, Ended(1.0, None), None)["estimates"]["click"]
    return found


def test_the_verdict_claims_no_more_than_the_intervals_allow() -> None:
    assert "nothing can be said" in verdict("click", estimate(0, 0, 10))
    assert "too few" in verdict("click", estimate(20, 1, 30))
    assert "more clicks" in verdict("click", estimate(400, 90, 100))
    assert "fewer clicks" in verdict("click", estimate(500, 0, 100))
