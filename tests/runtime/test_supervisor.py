"""Crashed parts are started again, not for ever, and everything stops in the opposite order of its start."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.local.restarts import CRASHES_MAX, DELAY_S_MAX, WINDOW_S, Restarts
from pipeline.local.supervisor import State, Supervisor
from pipeline.runtime.errors import StartupError


class FakePart:
    """A part that runs until the test says otherwise."""

    def __init__(self, name: str, directory: Path, journal: list[str]) -> None:
        self.name = name
        self.pid: int | None = None
        self.log_path = directory / f"{name}.log"
        self.log_path.write_text(f"{name} went wrong\n")
        self.exit_code: int | None = None
        self.launches = 0
        self._journal = journal

    def launch(self) -> None:
        self.launches += 1
        self.exit_code, self.pid = None, 1000 + self.launches
        self._journal.append(f"launch {self.name}")

    def poll(self) -> int | None:
        return self.exit_code

    def ask_to_stop(self) -> None:
        self._journal.append(f"ask {self.name}")

    def stop(self) -> None:
        self._journal.append(f"stop {self.name}")


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def supervisor(clock: Clock) -> Supervisor:
    return Supervisor(clock)


@pytest.fixture
def journal() -> list[str]:
    return []


def test_a_crashed_part_is_started_again_after_its_delay(
    supervisor: Supervisor, clock: Clock, journal: list[str], tmp_path: Path
) -> None:
    part = FakePart("worker", tmp_path, journal)
    supervisor.start([part])
    part.exit_code = 70
    supervisor.look()
    (watched,) = supervisor.watched
    assert (watched.state, watched.exit_code, part.launches) == (State.CRASHED, 70, 1)
    clock.now_s += 0.4
    supervisor.look()
    assert part.launches == 1
    clock.now_s += 0.2
    supervisor.look()
    assert (watched.state, part.launches, watched.restarts.total) == (State.RUNNING, 2, 1)


def test_a_crash_is_told_once_at_once_and_an_orderly_end_not(
    supervisor: Supervisor, clock: Clock, journal: list[str], tmp_path: Path
) -> None:
    part = FakePart("worker", tmp_path, journal)
    supervisor.start([part], on_crash=lambda crashed: journal.append(f"crashed {crashed.name}"))
    supervisor.look()
    part.exit_code = 137
    supervisor.look()
    supervisor.look()
    clock.now_s += 1.0
    supervisor.look()
    supervisor.stop()
    assert journal == ["launch worker", "crashed worker", "launch worker", "ask worker", "stop worker"]


def test_a_part_is_not_started_before_what_it_needs_is_there(
    supervisor: Supervisor, clock: Clock, journal: list[str], tmp_path: Path
) -> None:
    answers = False
    part = FakePart("worker", tmp_path, journal)
    supervisor.start([part], lambda: answers)
    part.exit_code = 1
    for _ in range(5):
        supervisor.look()
        clock.now_s += 10
    assert part.launches == 1
    answers = True
    supervisor.look()
    assert part.launches == 2


def test_a_part_that_crashes_too_often_ends_everything_with_its_last_words(
    supervisor: Supervisor, clock: Clock, journal: list[str], tmp_path: Path
) -> None:
    part = FakePart("worker", tmp_path, journal)
    supervisor.start([part])
    with pytest.raises(StartupError, match=r"worker ended 5 times within 60 s(?s:.*)worker\.log:\nworker went wrong"):
        for _ in range(100):
            part.exit_code = 1
            supervisor.look()
            clock.now_s += 1
    assert part.launches == CRASHES_MAX


def test_once_all_was_ready_a_part_that_crashes_too_often_rests_and_the_others_stay(
    supervisor: Supervisor, clock: Clock, journal: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    worker, bridge = FakePart("worker", tmp_path, journal), FakePart("bridge", tmp_path, journal)
    supervisor.start([worker, bridge])
    supervisor.settled = True
    launches = []
    for _ in range(700):
        worker.exit_code = 1
        supervisor.look()
        clock.now_s += 1
        launches.append(worker.launches)
    assert bridge.launches == 1 and supervisor.watched[1].state is State.RUNNING
    # It comes back by itself, ever less often, and each time is said.
    assert launches[-1] > launches[60] >= CRASHES_MAX
    said = [one.getMessage() for one in caplog.records if one.levelname == "CRITICAL"]
    assert "worker ended 5 times within 60 s" in said[0]
    assert "it is tried again in 30 s, everything else goes on" in said[0]
    assert "worker went wrong" in said[0] and any("in 60 s, everything" in one for one in said)


def test_crashes_long_apart_are_forgiven() -> None:
    restarts = Restarts()
    delays = [restarts.delay_s(crash * WINDOW_S) for crash in range(50)]
    assert delays == [0.5] * 50
    assert restarts.total == 50


def test_crashes_in_a_row_wait_longer_each_time() -> None:
    restarts = Restarts()
    delays = [restarts.delay_s(float(crash)) for crash in range(CRASHES_MAX)]
    assert delays == [0.5, 1, 2, 4, None]
    assert max(delay for delay in delays if delay) <= DELAY_S_MAX


def test_groups_stop_last_first_and_within_one_all_are_asked_before_any_is_waited_for(
    supervisor: Supervisor, journal: list[str], tmp_path: Path
) -> None:
    supervisor.start([FakePart("broker", tmp_path, journal)])
    supervisor.start([FakePart("worker-1", tmp_path, journal), FakePart("worker-2", tmp_path, journal)])
    supervisor.start([FakePart("bridge", tmp_path, journal)])
    told: list[str] = []
    del journal[:]
    supervisor.stop(told.append)
    assert journal == [
        "ask bridge", "stop bridge",
        "ask worker-1", "ask worker-2", "stop worker-1", "stop worker-2",
        "ask broker", "stop broker",
    ]  # fmt: skip
    assert told == ["Stopping bridge", "Stopping worker-1, worker-2", "Stopping broker"]


def test_a_stopped_part_stays_stopped(supervisor: Supervisor, journal: list[str], tmp_path: Path) -> None:
    part = FakePart("worker", tmp_path, journal)
    supervisor.start([part])
    supervisor.stop()
    part.exit_code = 0
    supervisor.look()
    assert part.launches == 1
