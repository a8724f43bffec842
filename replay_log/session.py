"""One replay from files to summary: puts reading, mapping, wire and replayer together. Prints nothing."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Final

from pipeline.codecs import avro
from pipeline.codecs.errors import CodecError
from pipeline.core.hashing import fraction
from pipeline.core.identity.identifiers import TenantKeys, identifier, key_of
from pipeline.ports import Clock
from pipeline.settings import Settings
from replay_log.audits import audit_ends, read_refusals
from replay_log.errors import ReplayError, RowError
from replay_log.events import Run, decision_request, feedback_events, identity_events
from replay_log.mapping import Mapping
from replay_log.mapping_file import Located
from replay_log.pacing import AtOnce, EvenRate, LoggedTimes, Pace
from replay_log.reading import BadLine, Log
from replay_log.replayer import Limits, Replayer
from replay_log.rewards import Reward
from replay_log.rows import Impression, read_impression
from replay_log.summary import About, summarise
from replay_log.tally import Tally
from replay_log.wire import KafkaWire
from topics.catalog import DECISION_REPLIES, DECISION_REQUESTS, FEEDBACK_EVENTS, IDENTITY_EVENTS

#: No dash: ids are `run-row-what`, and one run's must never begin with another's name.
_RUN: Final = re.compile(r"[A-Za-z0-9_.]{1,64}")


@dataclass(frozen=True, slots=True)
class Options:
    """What the caller may choose. `rate` in rows per second and `speed` as a factor exclude each other."""

    rows: int | None = None
    skip: int = 0
    rate: float | None = None
    speed: float | None = None
    window: int = 256
    patience_s: float = 60.0
    bad_rows_max: int = 100
    run: str | None = None
    credit: str = ""

    def pace(self) -> tuple[Pace, str]:
        """How rows are spread, and the same in words."""
        if self.rate is not None:
            return EvenRate(self.rate), f"asked for {self.rate:g} rows/s"
        if self.speed is not None:
            return LoggedTimes(self.speed), f"{self.speed:g} times the log's own pace"
        return AtOnce(), "as fast as answers come"


class Watcher:
    """Who is told how a replay goes; does nothing by itself."""

    def replaying(self, tally: Tally, rows: int | None) -> None:
        """The figures so far, a few times a second; `rows` None: nobody knows how many there are."""

    def explaining(self, done: int, of: int) -> None:
        """Audit records read back so far."""


def run_replay(
    settings: Settings, log_path: Path, located: Located, options: Options, clock: Clock,
    stopped: Callable[[], bool], watcher: Watcher,
) -> dict[str, Any]:
    """Replay a log through the running pipeline and sum it up.

    Raises `ReplayError` (`MappingError` for the mapping) where it cannot start or nothing was answered at all; once
    something was, a breakdown is part of the summary, with the row to go on from.
    """
    if options.run is not None and not _RUN.fullmatch(options.run):
        raise ReplayError("a run's name is 1 to 64 letters, digits, dots and underscores")
    mapping = located.mapping
    log = Log(log_path, mapping.format, mapping.csv)
    located.check_columns(log.columns, log_path)
    if options.speed is not None and mapping.timestamp is None:
        raise ReplayError(located.problem(("timestamp",), "missing, and --speed needs the log's times"))
    tenant = mapping.tenant or settings.tenant
    subject_of = partial(_keys, settings.tenant_keys, tenant, mapping.subject.type)
    run = Run(
        options.run or f"r{clock.now_ms():x}",
        mapping.consent.purpose if mapping.consent else None,
        mapping.require_consent,
    )
    pace, pace_said = options.pace()
    tally = Tally()
    usable = _usable(log, mapping, subject_of, run, tally, options)
    rows = _rows_expected(log, options)
    starts = audit_ends(settings)
    with KafkaWire(settings, clock, int(fraction("replies", run.name) * DECISION_REPLIES.partitions)) as wire:
        limits = Limits(options.rows, options.window, options.patience_s)
        tell = partial(_tell, watcher, rows)
        ended = Replayer(wire, clock, run, pace, limits, tally, stopped, tell).replay(usable)
    if tally.rows == 0 and ended.resume_after is None:
        raise ReplayError(_nothing(log_path, tally, options))
    refusals = read_refusals(settings, run.name, starts, watcher.explaining) if ended.problem is None else None
    about = About(
        str(log_path), run.name, tenant, pace_said, options.window, _simulated(mapping), _rewards(mapping),
        options.credit,
    )
    return summarise(about, tally, ended, refusals)


def _keys(tenant_keys: TenantKeys, tenant: str, type_: str, value: str) -> tuple[str, list[str]]:
    known = identifier(tenant_keys, tenant, type_, value)
    return key_of(tenant, known), known.earlier


@contextmanager
def stopping_on_signals() -> Iterator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM set the flag that is yielded; a second Ctrl-C ends at once."""
    told: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if told and number == signal.SIGINT:
            raise KeyboardInterrupt
        told.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(told)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tell(watcher: Watcher, rows: int | None, tally: Tally) -> None:
    watcher.replaying(tally, rows)


def _usable(
    log: Log, mapping: Mapping, subject_of: Callable[[str], tuple[str, list[str]]], run: Run, tally: Tally,
    options: Options,
) -> Iterator[Impression]:
    """The rows that are impressions; the others are counted, and too many of them end the replay."""
    for number, row in log.rows([column for _, column in mapping.columns()], options.skip):
        try:
            if isinstance(row, BadLine):
                tally.bad_row(number, row.problem)
            else:
                impression = read_impression(number, row, mapping, subject_of)
                _check(run, impression)
                yield impression
                continue
        except RowError as error:
            tally.bad_row(number, str(error))
        except CodecError as error:
            tally.bad_row(number, error.detail)
        if tally.bad_rows > options.bad_rows_max:
            told = "\n".join(f"  {one}" for one in tally.bad_rows_told)
            raise ReplayError(
                f"more than {options.bad_rows_max} rows of {log.path} cannot be used (--max-bad allows more):\n{told}"
            )


def _check(run: Run, impression: Impression) -> None:
    """Raises CodecError for a row of which a worker would refuse a record."""
    for event in identity_events(run, impression, 0):
        avro.encode_checked(IDENTITY_EVENTS, event)
    avro.encode_checked(DECISION_REQUESTS, decision_request(run, impression, 0))
    for feedback in feedback_events(run, impression, 0, None):
        avro.encode_checked(FEEDBACK_EVENTS, feedback)


def _rows_expected(log: Log, options: Options) -> int | None:
    count = log.row_count()
    if count is None:
        return options.rows
    left = max(0, count - options.skip)
    return left if options.rows is None else min(left, options.rows)


def _nothing(log_path: Path, tally: Tally, options: Options) -> str:
    if tally.bad_rows:
        return f"not one row of {log_path} can be used: {tally.bad_rows_told[0]}"
    return f"{log_path} holds no row" + (f" after the first {options.skip}" if options.skip else "")


def _rewards(mapping: Mapping) -> tuple[Reward, ...]:
    columns = {Reward.CLICK: mapping.click, Reward.CONVERSION: mapping.conversion, Reward.VALUE: mapping.value}
    return tuple(reward for reward, column in columns.items() if column is not None)


def _simulated(mapping: Mapping) -> tuple[str, ...]:
    notes = []
    if (simulated := mapping.subject.simulated) is not None:
        notes.append(
            f"subjects. The log names no users: rows with the same {', '.join(mapping.subject.columns)} are spread "
            f"over {simulated.buckets} made-up subjects by a hash of {simulated.by}."
        )
    if mapping.consent is not None and (share := mapping.consent.simulated_missing_share) is not None:
        notes.append(
            f"consent. The log says nothing about it: {share:.0%} of the subjects were given none for "
            f"{mapping.consent.purpose}, the others a grant."
        )
    return tuple(notes)
