"""The summary of a replay as plain data: what `--json` prints, and what `render.py` shows. Reads a tally, no Kafka."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

from replay_log.audits import Refusals
from replay_log.replayer import Ended
from replay_log.rewards import Reward
from replay_log.statistics import wilson
from replay_log.tally import ItemCount, Tally

TOP_ITEMS: Final = 10

#: The reply's reason where consent was missing or refused, and where caps left nothing to show.
NO_CONSENT: Final = "no_consent"
CAPPED: Final = "capped"


@dataclass(frozen=True, slots=True)
class About:
    """What was replayed, and how."""

    log: str
    run: str
    tenant: str
    #: Rows per second asked for, times the logged pace, or as fast as the window allows; in words.
    pace: str
    window: int
    #: What is simulated rather than logged; in words, empty where nothing is.
    simulated: tuple[str, ...] = ()
    #: What the log says was earned; its estimates are made.
    rewards: tuple[Reward, ...] = (Reward.CLICK,)
    credit: str = ""


def summarise(about: About, tally: Tally, ended: Ended, refusals: Refusals | None) -> dict[str, Any]:
    """Every figure of the replay, by name; rates are shares of 1, times carry their unit in the name."""
    latencies = tally.latencies
    return {
        "log": about.log,
        "run": about.run,
        "tenant": about.tenant,
        "simulated": list(about.simulated),
        "credit": about.credit,
        "rows": {"replayed": tally.rows, "bad": tally.bad_rows, "bad_told": list(tally.bad_rows_told)},
        "subjects": tally.subjects,
        "events_sent": dict(tally.events),
        "requests": {
            "sent": tally.requests, "answered": tally.answered, "unanswered": tally.unanswered,
            "resent": tally.resent, "held_back": tally.held_back,
        },
        "load": {
            "elapsed_s": round(ended.elapsed_s, 3),
            "rows_per_s": round(tally.rows / ended.elapsed_s, 1) if ended.elapsed_s > 0 else None,
            "pace": about.pace,
            "window": about.window,
        },
        "latency_ms": {
            "p50": _rounded(latencies.quantile(0.50)), "p95": _rounded(latencies.quantile(0.95)),
            "p99": _rounded(latencies.quantile(0.99)), "max": _rounded(latencies.max_ms) if latencies.count else None,
        },
        "decisions": {
            "by_reason": dict(tally.reasons.most_common()),
            "fallback_share": _share(tally.fallbacks, tally.answered),
            "consent_refusals": tally.reasons[NO_CONSENT],
            "cap_refusals": {
                "answers": tally.reasons[CAPPED],
                "audited_decisions": refusals.decisions if refusals else None,
                "decisions_with_a_capped_candidate": refusals.decisions_capped if refusals else None,
                "candidates": refusals.candidates_capped if refusals else None,
            },
            "errors": dict(tally.errors.most_common()),
        },
        "items": {
            "logged": sum(1 for count in tally.items.values() if count.impressions),
            "top": [_item(name, count) for name, count in top_items(tally)],
        },
        "estimates": {reward.value: asdict(tally.replayed.estimate(reward)) for reward in about.rewards},
        "estimates_left_out": tally.replayed.left_out,
        "learning": tally.learning.summary() if Reward.CLICK in about.rewards else None,
        "stopped": None if ended.resume_after is None else {
            "resume_after": ended.resume_after, "problem": ended.problem,
        },
    }


def top_items(tally: Tally) -> list[tuple[str, ItemCount]]:
    """The items whose click rate is surely highest: by the lower end of the interval, then by impressions and name."""
    def rank(entry: tuple[str, ItemCount]) -> tuple[float, int, str]:
        name, count = entry
        return (-wilson(count.clicks, count.impressions).low, -count.impressions, name)

    return sorted((entry for entry in tally.items.items() if entry[1].impressions), key=rank)[:TOP_ITEMS]


def _item(name: str, count: ItemCount) -> dict[str, Any]:
    interval = wilson(count.clicks, count.impressions)
    return {
        "item": name, "impressions": count.impressions, "clicks": count.clicks,
        "ctr": _share(count.clicks, count.impressions), "ctr_low": interval.low, "ctr_high": interval.high,
        "chosen_by_us": count.chosen,
    }


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _rounded(ms: float | None) -> float | None:
    return None if ms is None else round(ms, 2)
