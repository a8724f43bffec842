"""What the commands that talk to a cluster share: their options, and a clear word where it does not answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from confluent_kafka import KafkaException
from rich.console import Console

from pipeline.adapters import kafka
from pipeline.adapters.topic_plan import declared
from pipeline.codecs.encryption import DecryptionError
from pipeline.codecs.errors import CodecError
from pipeline.settings import Settings

Bootstrap = Annotated[
    str | None, typer.Option("--bootstrap", metavar="HOST:PORT", help="The cluster; default: NEXTBEST_BOOTSTRAP.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of a table.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

out = Console()
err = Console(stderr=True)


def settings_for(bootstrap: str | None) -> Settings:
    """The environment's settings, with the cluster the command line names."""
    changes: dict[str, Any] = {} if bootstrap is None else {"bootstrap": bootstrap}
    return Settings(**changes)


def fail(text: str) -> typer.Exit:
    """Say what is wrong on standard error; raise the result to end with status 1."""
    err.print(text, style="red", markup=False, highlight=False, soft_wrap=True)
    return typer.Exit(1)


@contextmanager
def answering(settings: Settings) -> Iterator[None]:
    """Turns the cluster's silence or refusal, a key that does not fit, and what no worker would take, into a line that
    says what to do."""
    try:
        yield
    except KafkaException as error:
        cause = error.args[0]
        if cause.name() == "UNKNOWN_TOPIC_OR_PART":
            raise fail(
                f"The cluster at {settings.bootstrap} lacks a topic of ours: make it with `nextbest topics apply`."
            ) from error
        raise fail(
            f"The cluster at {settings.bootstrap} did not do it: {cause.str()}. Start one with `nextbest up` or "
            "`nextbest broker`, or name yours with --bootstrap HOST:PORT."
        ) from error
    except DecryptionError as error:
        raise fail(f"{error}. Give this command the workers' NEXTBEST_PRIVACY_KEY.") from error
    except CodecError as error:
        raise fail(f"Nothing was sent: {error.detail}.") from error


def when(at_ms: int) -> str:
    """A moment in UTC, to the second, as people read it in a table."""
    return datetime.fromtimestamp(at_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def reachable(settings: Settings) -> None:
    """Say so and end with status 1 where the cluster does not answer, or lacks a topic of ours."""
    with answering(settings):
        known = kafka.admin(settings).list_topics(timeout=kafka.ADMIN_TIMEOUT_S).topics
    missing = [topic.name for topic in declared(settings.app_id) if topic.name not in known]
    if missing:
        raise fail(
            f"The cluster at {settings.bootstrap} lacks {', '.join(missing)}: make them with `nextbest topics apply`."
        )
