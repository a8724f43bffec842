"""`nextbest up`: the whole installation in the foreground. Shows it and waits; the parts are in `local/stack.py`."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from pathlib import Path
from typing import Annotated, Final

import typer

from pipeline.cli.options import Bootstrap, DataDir, HttpHost, HttpPort, KafkaPort, private, settings_with
from pipeline.cli.stopping import until_told_to_stop
from pipeline.settings import Settings

LOOK_EVERY_S: Final = 0.2
#: How often a start that takes long says what it waits for.
SAY_EVERY_S: Final = 20.0
EXAMPLE_POLICY: Final = Path(__file__).resolve().parents[2] / "policy"


def up(
    data_dir: DataDir = None,
    http_host: HttpHost = None,
    http_port: HttpPort = None,
    workers: Annotated[int, typer.Option("--workers", min=1, max=64, help="How many workers.")] = 1,
    bootstrap: Bootstrap = None,
    policy: Annotated[
        Path | None,
        typer.Option(
            "--policy", metavar="DIR", exists=True, file_okay=False,
            help="Policy to make live at the start; default: the example, where none is live yet.",
        ),
    ] = None,
    kafka_port: KafkaPort = 9092,
    logs: Annotated[
        str | None, typer.Option("--logs", metavar="FOLDER", help="Keep a log store there, too (NEXTBEST_LOGS).")
    ] = None,
) -> None:
    """Run the whole installation here: broker, workers, bridge.

    Without --bootstrap (or NEXTBEST_BOOTSTRAP) it brings a Kafka broker of its own, for development.
    Ctrl-C stops it; the next start on the same data directory continues where it was.
    """
    settings = settings_with(
        data_dir=data_dir, http_host=http_host, http_port=http_port, bootstrap=bootstrap, logs=logs)
    private(settings)
    # What clients of the broker complain about while it comes and goes is in its state already.
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(name)s: %(message)s")
    from pipeline.cli.status_view import shown
    from pipeline.local import lock_file
    from pipeline.local.broker import EmbeddedBroker
    from pipeline.local.stack import Stack

    with until_told_to_stop(), lock_file.held(settings.data_dir / "up.lock", "another `nextbest up`", "--data-dir"):
        with shown() as view:
            embed = "bootstrap" not in settings.model_fields_set
            broker = EmbeddedBroker(settings.data_dir, kafka_port, view.tell) if embed else None
            stack = Stack(settings, workers, broker, view.tell)
            try:
                stack.start(lambda reached: prepare(reached, policy))
                said_s = time.monotonic()
                while (missing := stack.not_ready()) is not None:
                    stack.supervisor.look()
                    view.show(stack.supervisor.watched)
                    if time.monotonic() - said_s > SAY_EVERY_S:
                        said_s = time.monotonic()
                        view.tell(f"Not ready yet: {missing}")
                    time.sleep(LOOK_EVERY_S)
                stack.supervisor.settled = True
                view.ready(
                    f"Nextbest is ready: {stack.http_url} (API: {stack.http_url}/docs), "
                    f"Kafka at {stack.settings.bootstrap}, data in {stack.settings.data_dir}"
                )
                while True:
                    stack.supervisor.look()
                    view.show(stack.supervisor.watched)
                    time.sleep(LOOK_EVERY_S)
            finally:
                stack.stop()


def prepare(settings: Settings, policy: Path | None) -> None:
    """Topics as declared, and a live policy: the one that is asked for, or the example where there is none."""
    from pipeline.adapters import topic_admin
    from pipeline.cli import policy as policies
    from pipeline.cli.cluster import answering, fail

    with answering(settings):
        try:
            topic_admin.ensure_topics(settings)
        except topic_admin.TopicsError as error:
            raise fail(str(error)) from error
        if policy is not None or not policies.published(settings).activated(settings.tenant):
            # Standard output is for the ready line alone.
            with contextlib.redirect_stdout(sys.stderr):
                policies.publish(policy or EXAMPLE_POLICY, settings.tenant, settings.bootstrap)
