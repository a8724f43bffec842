"""What the demo needs besides a replay: a folder of its own, parts kept running meanwhile, lines to go on with.

Prints nothing and parses no command line.
"""

from __future__ import annotations

import json
import shlex
import shutil
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pipeline.local.supervisor import Supervisor
from pipeline.runtime.errors import StartupError
from replay_log.mapping_file import load_mapping
from replay_log.open_bandit.dataset import Prepared
from replay_log.reading import BadLine, Log
from replay_log.rows import read_impression

#: A folder with this file was made by the demo, which may empty it.
MARKER: Final = "made-by-nextbest-demo"
LOCK: Final = "up.lock"

DECIDE: Final = "/personalization/decide"
EVENTS: Final = "/v1/events"

_LOOK_EVERY_S: Final = 0.2
_ANSWER_S: Final = 5.0


def empty_folder(folder: Path) -> None:
    """Empty what an earlier demo left, so that each demo tells the same story. Call it with the folder's lock held.

    Raises StartupError for a folder that holds anything a demo did not make.
    """
    others = [path for path in folder.iterdir() if path.name not in (LOCK, MARKER)]
    if others and not (folder / MARKER).exists():
        raise StartupError(
            f"{folder} holds {others[0].name}, which no demo made, and the demo starts from nothing; "
            "name an empty folder by --data-dir"
        )
    for path in others:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    (folder / MARKER).write_text("`nextbest demo` empties this folder at its next start.\n")


class KeptRunning:
    """The outcome of watching: why the parts had to be stopped, None while all is well."""

    def __init__(self) -> None:
        self.problem: StartupError | None = None

    def check(self) -> None:
        """Raise what made the parts stop, if anything did."""
        if self.problem is not None:
            raise self.problem


@contextmanager
def kept_running(supervisor: Supervisor) -> Iterator[KeptRunning]:
    """Parts that crash are started again while the block runs."""
    kept, ended = KeptRunning(), threading.Event()

    def watch() -> None:
        while not ended.wait(_LOOK_EVERY_S):
            try:
                supervisor.look()
            except StartupError as error:
                kept.problem = error
                return

    thread = threading.Thread(target=watch, name="supervisor", daemon=True)
    thread.start()
    try:
        yield kept
    finally:
        ended.set()
        thread.join()


@dataclass(frozen=True, slots=True)
class Somebody:
    """A subject of the log who gave consent, by the identifier a caller would give, and where something was shown."""

    type: str
    id: str
    placement: str


def somebody(prepared: Prepared) -> Somebody:
    """The first of them. Raises StartupError where nobody gave consent."""
    mapping = load_mapping(prepared.mapping).mapping
    log = Log(prepared.log)
    for number, row in log.rows([column for _, column in mapping.columns()]):
        if isinstance(row, BadLine):
            continue
        impression = read_impression(number, row, mapping, lambda who: (who, []))
        if impression.consent:
            return Somebody(mapping.subject.type, impression.subject, impression.placement)
    raise StartupError(f"{prepared.log} names nobody who gave consent")


def further(who: Somebody, url: str, later_url: str) -> list[str]:
    """Lines for a shell that ask the installation at `later_url`. Each was asked of the one at `url` first."""
    question = {
        "subject": {"id": who.id, "type": who.type}, "context": {"channel": "web", "placement": who.placement},
    }
    answer = _ask(url + DECIDE, question)
    shown = answer["decisions"][0]
    click = {
        "type": "track", "anonymousId": who.id, "event": "click",
        "properties": {
            "item_id": shown.get("content_id"), "decision_id": answer["decision_id"], "placement": who.placement,
            "channel": "web",
        },
    }
    taken = _ask(url + EVENTS, click)
    return [
        f"# what to show somebody from the log; just now it was {shown.get('content_id')} ({answer['reason']})",
        curl(later_url + DECIDE, question),
        f"# a click on it; just now it was {taken['events'][0]['status']}",
        curl(later_url + EVENTS, click),
        f"# the HTTP interface, and its figures: {later_url}/docs and {later_url}/metrics",
    ]


def curl(url: str, body: dict[str, Any]) -> str:
    """A question as a line for a shell."""
    return f"curl -s {url} -H 'Content-Type: application/json' -d {shlex.quote(json.dumps(body))}"


def _ask(url: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=_ANSWER_S) as answer:  # noqa: S310 - our own address
            told: dict[str, Any] = json.load(answer)
            return told
    except OSError as error:
        raise StartupError(f"{url} did not answer: {error}") from error
