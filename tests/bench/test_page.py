"""The page on speed takes its figures from results, and says which promises they keep."""

from __future__ import annotations

from typing import Any

import pytest

from bench import page, report
from bench.client import Result
from bench.figures import Latency, ratio


def latency(rate: int, *ms: float, errors: dict[str, int] | None = None) -> dict[str, Any]:
    result = Result(list(ms), [0.1], errors or {}, {"decided": len(ms)}, {"capped": 1})
    found = Latency("decide", rate, [result], {"worker": 0.5}, 10.0)
    return {"load": "as asked", **found.summary()}


def results(quix_per_s: int | None = 8_000, errors: dict[str, int] | None = None) -> dict[str, Any]:
    decide, echo = latency(200, 4.0, 9.0, errors=errors), latency(200, 2.0, 3.0)
    throughput: dict[str, Any] = {"load": "many", "quix_per_s": quix_per_s, "same_decisions": 40_000}
    for side, rate in (("nextbest", 10_000), ("quix", quix_per_s)):
        if rate is not None:
            throughput |= {
                f"{side}_per_s": rate, f"{side}_runs_per_s": [rate, rate], f"{side}_cpu_us_per_request": [99.5, None],
                f"{side}_broker_cpu_us_per_request": [50.0, 51.0],
            }
    return {
        "plan": "full", "at": "2026-11-21T03:00:00Z", "decide": decide, "echo": echo, "decide_over_topics": decide,
        "high": {"decide": None, "echo": None}, "throughput": throughput,
        "recovery": {
            "records": 100_000, "nextbest_s": 1.0, "nextbest_per_s": 100_000, "faust_s": None, "faust_per_s": None,
        },
        "ratios": {
            "decide_p95_to_echo_p95": ratio(decide["p95_ms"], echo["p95_ms"]),
            "nextbest_to_quix": ratio(10_000, quix_per_s),
        },
        "machine": {
            "cores": 2, "processor": "some", "memory_gib": 8.0, "system": "Linux", "python": "3.11.7",
            "kafka": "4.3.1", "librdkafka": "2.16", "versions": {"rocksdict": "0.3"}, "stolen_share": 0.01,
            "others_share": 0.2,
        },
    }


def test_promises_are_judged_by_the_figures() -> None:
    assert [held for _, held in report.promises(results())] == [True, None, True, True, True]
    assert [held for _, held in report.promises(results(quix_per_s=None))] == [True, None, True, True, None]
    assert [held for _, held in report.promises(results(20_000, {"status 503": 1}))] == [True, None, True, False, False]


def test_the_page_shows_them_between_its_marks() -> None:
    before = page.PAGE.read_text("utf-8")
    after = page.filled(before, "pipeline", page.pipeline(results()))
    assert "| decide through the bridge | 200 | 2 | 4.0 | 9.0 | 9.0 | 9.0 | 9.0 | 3.0 | 0 | capped 1 |" in after
    assert "| Nextbest | 10,000 | 10,000 · 10,000 | 100 · ? | 50 · 51 |" in after
    assert "measure again when it is quieter" in after
    assert page.filled(after, "pipeline", "").count("\n") < before.count("\n") + 1, "only what is between the marks"


def test_a_page_without_marks_is_an_error() -> None:
    with pytest.raises(ValueError, match="<!-- core -->"):
        page.filled("# How fast", "core", "")
