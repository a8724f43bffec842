"""What a model's one writer does: count updates once, decay, and cut snapshots. Pure.

Exactly once: an update names the record that it follows from. Of each source (a topic's partition) the writer keeps
the highest offset that it counted and a window of those before it, as an IPsec receiver does (RFC 6479): what comes
again is known, in whatever order a new owner sends again what an earlier one may have sent. What is older than the
window is not counted, rather than perhaps twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from pipeline.core.keys import model_of, tenant_of
from pipeline.core.model.definitions import Item
from pipeline.core.model.learning import ModelSnapshot, ModelUpdate
from pipeline.core.models.learner import WITH_FEATURES, Learner
from pipeline.core.models.snapshots import body_of, digest_of
from pipeline.core.models.statistics import Statistics
from pipeline.core.sections.section import changed
from pipeline.core.subject import CUT_TIMER, ModelState, Source, timed

#: Offsets before the highest one of a source that are told apart.
WINDOW: Final = 65_536
#: Sources that are kept: a topic that was made anew replaces its former self.
SOURCES_MAX: Final = 256
#: Two snapshots are no closer than this.
GAP_MS_MIN: Final = 300_000
#: Snapshots that stay on their topic: at the shortest gap, longer than any audit that names one is kept.
NUMBERS_KEPT: Final = 32_768

_MASK: Final = (1 << WINDOW) - 1


def counted(sources: Mapping[str, Source], source: str, offset: int) -> dict[str, Source] | None:
    """The sources with one more record counted; None where it was counted before, or is too old to tell."""
    known = sources.get(source)
    if known is None:
        kept = {name: one for name, one in sources.items() if _place(name) != _place(source)}
        while len(kept) >= SOURCES_MAX:
            del kept[next(iter(kept))]
        return {**kept, source: Source(offset, b"\x01")}
    back = known.highest - offset
    bits = int.from_bytes(known.counted)
    if back >= WINDOW or (back >= 0 and bits >> back & 1):
        return None
    if back >= 0:
        bits |= 1 << back
    else:
        bits = (bits << min(-back, WINDOW) | 1) & _MASK
    found = Source(max(known.highest, offset), bits.to_bytes((bits.bit_length() + 7) // 8))
    return {**sources, source: found}


def _place(source: str) -> tuple[str, str]:
    """Topic and partition of `topic@id/partition`."""
    return source.partition("@")[0], source.rpartition("/")[2]


def learnt(state: ModelState, update: ModelUpdate, learner: Learner, now_ms: int) -> tuple[ModelState, int] | None:
    """The state after an update, and how many of its observations were counted; None where it was counted before.

    A model of a new form begins anew; what comes of a former one is known as counted, and changes nothing.
    """
    sources = counted(state.sources, update.source, update.offset)
    if sources is None:
        return None
    state = changed(_of_form(state, learner), sources=sources)
    if update.form != learner.form:
        return state, 0
    statistics, count = Statistics(state.items, state.shared), 0
    for one in update.observations:
        if statistics.takes(one, learner):
            statistics, count = statistics.updated(one, learner), count + 1
    state = changed(state, items=statistics.items, shared=statistics.shared, learnt=state.learnt + count,
                    since_cut=state.since_cut + count)
    return changed(state, timers=timed(state.timers, CUT_TIMER, _cut_at_ms(state, learner, now_ms))), count


def _of_form(state: ModelState, learner: Learner) -> ModelState:
    """The state with statistics of the model's form; numbers go on."""
    if state.form == learner.form:
        return state
    return changed(state, form=learner.form, items={}, shared=b"", since_cut=0)


def _cut_at_ms(state: ModelState, learner: Learner, now_ms: int) -> int | None:
    """When the next snapshot is due; None: nothing was learnt since the last, or the release pins one, which is to
    stay among the newest."""
    if not state.since_cut or learner.pin is not None:
        return None
    if state.since_cut >= learner.after:
        return max(state.cut_ms + GAP_MS_MIN, now_ms)
    return state.timers.get(CUT_TIMER) or max((state.cut_ms or now_ms) + learner.every_ms, now_ms)


def cut(
    state: ModelState, learner: Learner, items: Mapping[str, Item], now_ms: int
) -> tuple[ModelState, ModelSnapshot | None]:
    """The state after its snapshot, decayed as time asks, and the snapshot; None where nothing was learnt since."""
    state = unscheduled(state)
    if not state.since_cut or state.form != learner.form:
        return state, None
    statistics = Statistics(state.items, state.shared)
    if learner.half_life_ms is not None and state.cut_ms:
        statistics = statistics.decayed(0.5 ** ((now_ms - state.cut_ms) / learner.half_life_ms))
    body = body_of(statistics, coefficients(statistics, learner, items))
    key = state.profile_id
    after = changed(state, items=dict(statistics.items), shared=statistics.shared, number=state.number + 1,
                    cut_ms=now_ms, since_cut=0)
    return after, ModelSnapshot(tenant_of(key), model_of(key), after.number, now_ms, learner.form, after.learnt, body,
                                digest_of(body))


def unscheduled(state: ModelState) -> ModelState:
    """The state of a model that cuts no snapshot."""
    return changed(state, timers=timed(state.timers, CUT_TIMER, None))


def coefficients(statistics: Statistics, learner: Learner, items: Mapping[str, Item]) -> Sequence[float]:
    """What the cold start makes of items' attributes: a ridge regression of known items' mean rewards, each weighing
    what its showings weigh against the prior. Empty where the model has no cold start or nothing is known."""
    if learner.kind in WITH_FEATURES or not learner.cold_start:
        return ()
    vectors, means, weights = [], [], []
    low, high = learner.reward_range
    for name, data in statistics.items.items():
        item = items.get(name)
        columns = "" if item is None else learner.item(item.facts)
        n, s, _ = np.frombuffer(data)[:3]
        if isinstance(columns, str) or n <= 0.0:
            continue
        mean = float(s / n)
        vectors.append(columns)
        means.append((low + mean * (high - low) if learner.kind == "beta" else mean) - learner.prior_mean)
        weights.append(float(n / (n + learner.prior_strength)))
    if not vectors:
        return ()
    x, w = np.array(vectors), np.array(weights)
    a = np.einsum("n,ni,nj->ij", w, x, x)
    a[np.diag_indices(x.shape[1])] += learner.ridge
    return tuple(np.linalg.solve(a, np.einsum("n,ni,n->i", w, x, np.array(means))).tolist())
