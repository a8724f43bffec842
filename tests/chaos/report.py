"""The results as a person reads them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from rich.console import Console

_WRONG_SHOWN_MAX: Final = 15

#: The promises, and how what breaks each is told by the judges.
PROMISES: Final = (
    ("every request answered: a decision or the declared fallback",
     r"no answer|no reply|not the declared|no worker gave"),
    ("no accepted event lost",
     r"accepted event|never accepted|no dead letter|dead letter for the good|(plan|consent) of "),
    ("no cap exceeded, none under-counted", r" though |its cap is|cap was ever| counted "),
    ("one request id, one answer: replies, decisions, audits, retries", r"different |says|without (audit|reply)"),
    ("no decision without consent", r"without any consent|consent was withdrawn"),
    ("one profile per connected set of identifiers", r"have the profiles|leads to"),
    ("every input offset met exactly one effect", r"never committed|was committed after|recovered state|not at rest"),
    ("no write and no answer of a lost owner", r"was frozen|came back|after the next owner"),
)


def show(results: dict[str, Any], console: Console) -> None:
    """Print what a person wants to see."""
    for line in lines(results):
        console.print(line, highlight=False, soft_wrap=True)


def lines(results: dict[str, Any]) -> Iterator[str]:
    """The report."""
    wrong: list[str] = results["wrong"]
    counts = Counter(promise_of(one) for one in wrong)
    for promise, _ in PROMISES:
        broken = counts.pop(promise, 0)
        yield f"[red]broken {broken:>5}[/]  {promise}" if broken else f"[green]kept[/]          {promise}"
    for other, broken in counts.items():
        yield f"[red]broken {broken:>5}[/]  {other}"
    for one in wrong[:_WRONG_SHOWN_MAX]:
        yield f"  {one}"
    if len(wrong) > _WRONG_SHOWN_MAX:
        yield f"  … and {len(wrong) - _WRONG_SHOWN_MAX} more, in the results"
    yield ""
    yield from _load(results)
    yield from _stalls(results["stalls"])
    for zombie in results["zombies"]:
        again = "never" if zombie["again_s"] is None else f"after {zombie['again_s']:.1f} s"
        moved = f"{zombie['moved']} of {len(zombie['partitions'])} partitions went to others"
        said = f"it produced {zombie['produced']} records and wrote {zombie['wrote_late']} late ones"
        yield f"Frozen for {zombie['frozen_s']:.0f} s: {moved}; after its return {said}; an owner again {again}"
    for one in results["stopped_by_themselves"]:
        yield f"Stopped by itself: {one['worker']} with {one['code']}: {one['words'][:160]}"


def promise_of(wrong: str) -> str:
    """Which promise it breaks."""
    return next((promise for promise, pattern in PROMISES if re.search(pattern, wrong)), "anything else")


def _load(results: dict[str, Any]) -> Iterator[str]:
    requests, records = results["requests"], results["records"]
    faults = Counter(one["kind"] for one in results["faults"])
    yield f"Seed {results['seed']}; faults: {', '.join(f'{n} × {kind}' for kind, n in faults.items())}"
    summary = ", ".join(f"{n:,} {what}" for what, n in requests["summary"].items())
    yield f"{requests['sent']:,} requests at {requests['per_s']:.0f}/s: {summary}"
    yield "  over HTTP: " + ", ".join(f"{n:,} {reason}" for reason, n in requests["http"].items())
    yield "  over topics: " + ", ".join(f"{n:,} {reason}" for reason, n in requests["over topics"].items())
    yield "  latency over HTTP, ms: " + ", ".join(f"{name} {ms:,.0f}" for name, ms in results["latency_ms"].items())
    yield (f"{results['identifiers']:,} identifiers in {results['families']:,} families; records: "
           + ", ".join(f"{name} {n:,}" for name, n in records.items()))


def _stalls(figures: dict[str, Any]) -> Iterator[str]:
    for name, of in (
        ("that the group was told of", figures["told"]), ("that it was not told of", figures["untold"]),
        ("of all kinds", figures["all"]),
    ):
        if not of["kills"]:
            yield f"Kills {name}: none"
            continue
        parts = [
            f"{what} {of[key]['median']:.1f} (at most {of[key]['max']:.1f}) s" for key, what in (
                ("first_owner_s", "the first partition has a new owner after"), ("all_owned_s", "every one after"),
                ("all_decide_s", "all decide for their callers after"))
            if of[key]
        ]
        yield f"{of['kills']} kills {name}, medians: {', '.join(parts)}; {of['fallbacks']:,} fallbacks meanwhile"
