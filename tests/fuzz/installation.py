"""A broker, two workers and a bridge under odd inputs, and what must hold of them all the while."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx

from pipeline.adapters import profile_reader
from pipeline.adapters.topic_admin import ensure_topics
from pipeline.core.identity import identifiers
from pipeline.core.subject import Person, Subject
from pipeline.settings import Settings
from tests.support import shop
from tests.support.broker import embedded
from tests.support.stack import Client, WorkerProcess, free_port, ready, wait_until
from topics.catalog import BY_NAME

TENANT: Final = "shop"
APP_ID: Final = "fuzz"
#: The shop's, and a cap that counts every click of a subject.
POLICY: Final = shop.POLICY.replace("caps:\n", """\
caps:
  clicked: {count: click, per: all, limit: 1000000, window: lifetime}
""")
CLICKED: Final = "clicked|"


class Broken(AssertionError):
    """Something that must hold does not."""


class Installation:
    """`check` says whether everything that must hold does."""

    def __init__(self, bootstrap: str, folder: Path) -> None:
        self.settings = Settings(bootstrap=bootstrap, tenant=TENANT, app_id=APP_ID)
        ensure_topics(self.settings)
        self.client = Client(bootstrap, APP_ID)
        for record in shop.publication(folder / "policy", POLICY, TENANT):
            self.client.send(BY_NAME[record.topic], record.key, record.value)
        self.client.flush()
        # Rests of a topic would only keep odd records from being tried.
        more = {"tenant": TENANT, "dead_letter_limit": 10**9}
        self.workers = [WorkerProcess(bootstrap, folder / name, APP_ID, **more) for name in ("a", "b")]
        self._log = folder / "bridge.log"
        port = free_port()
        environment = os.environ | {
            "NEXTBEST_BOOTSTRAP": bootstrap, "NEXTBEST_APP_ID": APP_ID, "NEXTBEST_TENANT": TENANT,
            "NEXTBEST_HTTP_PORT": str(port), "NEXTBEST_DATA_DIR": str(folder / "bridge"),
            "NEXTBEST_CORS_ORIGINS": "https://shop.example", "NEXTBEST_DEADLINE_MS": "2000"}
        with self._log.open("wb") as log:
            self._bridge = subprocess.Popen([sys.executable, "-m", "pipeline.cli.main", "bridge"], env=environment,
                                            stdout=log, stderr=log)
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30)

    def start(self) -> None:
        """Wait until decisions can be served."""
        ready(self.workers)
        wait_until(self._serves, what="the bridge's readiness")

    def stop(self) -> None:
        """End everything."""
        self.http.close()
        for process in (self._bridge, *(worker.process for worker in self.workers)):
            process.terminate()
        for process in (self._bridge, *(worker.process for worker in self.workers)):
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()

    def check(self) -> None:
        """Raises Broken where a process ended, or the bridge is not ready."""
        for worker in self.workers:
            if (code := worker.process.poll()) is not None:
                raise Broken(f"a worker ended with {code}:\n{worker.log.read_text()[-3_000:]}")
        if (code := self._bridge.poll()) is not None:
            raise Broken(f"the bridge ended with {code}:\n{self._log.read_text()[-3_000:]}")
        try:
            wait_until(self._serves, 15.0, "the bridge's readiness")
        except AssertionError as error:
            raise Broken(f"/readyz: {self.http.get('/readyz').text}") from error
        log = self._log.read_text(errors="replace")
        if "Traceback" in log:
            raise Broken(f"the bridge logged a traceback:\n{log[log.index('Traceback'):][:3_000]}")

    def key(self, user: str) -> str:
        """A user's key."""
        return identifiers.subject_key(self.settings.tenant_keys, TENANT, "user_id", user)

    def profile(self, user: str) -> Subject | None:
        """What is kept of a user."""
        return profile_reader.read(self.settings, [self.key(user)]).get(self.key(user))

    def clicks(self, user: str) -> int:
        """How many clicks of a user were counted."""
        kept = self.profile(user)
        counter = kept.counters.get(CLICKED) if isinstance(kept, Person) else None
        return 0 if counter is None else counter.total

    def _serves(self) -> bool:
        try:
            return self.http.get("/readyz").status_code == 200
        except httpx.HTTPError:
            return False


@contextmanager
def installed(folder: Path, bootstrap: str | None = None) -> Iterator[Installation]:
    """An installation that serves; on a broker of its own where none is named."""
    if bootstrap is None:
        with embedded(folder / "broker") as own, installed(folder, own) as one:
            yield one
        return
    one = Installation(bootstrap, folder)
    try:
        one.start()
        yield one
    finally:
        one.stop()
