"""Options that several commands share, and how they override the environment."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from pipeline.local import parent
from pipeline.runtime.errors import StartupError
from pipeline.settings import Settings

Bootstrap = Annotated[
    str | None, typer.Option("--bootstrap", metavar="HOST:PORT", help="Kafka cluster to use (NEXTBEST_BOOTSTRAP).")
]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", metavar="DIR", help="Everything kept on this machine (NEXTBEST_DATA_DIR).")
]
HttpHost = Annotated[
    str | None, typer.Option("--http-host", metavar="HOST", help="Address of the HTTP endpoints (NEXTBEST_HTTP_HOST).")
]
HttpPort = Annotated[
    int | None, typer.Option("--http-port", min=0, max=65535, help="Port of the HTTP endpoints (NEXTBEST_HTTP_PORT).")
]
KafkaPort = Annotated[
    int, typer.Option("--kafka-port", min=0, max=65535, help="Port of the embedded broker; 0: any free one.")
]

#: Of tests and of make; see `pipeline.local.parent`.
_NOT_SETTINGS: Final = frozenset(("NEXTBEST_TEST_BROKER", parent.SETTING))


def settings_with(**options: Any) -> Settings:
    """The environment's settings with the options that were given; what is set and is no setting is said on standard
    error. Raises pydantic's ValidationError."""
    for problem in misspelt(os.environ):
        typer.secho(problem, fg="yellow", err=True)
    return Settings(**{name: value for name, value in options.items() if value is not None})


def misspelt(environ: Iterable[str]) -> list[str]:
    """A sentence for each variable that looks like a setting and is none."""
    known = [f"NEXTBEST_{name.upper()}" for name in Settings.model_fields]
    found = sorted(name for name in environ if name.upper().startswith("NEXTBEST_"))
    return [
        f"Warning: {name} is no setting and changes nothing. {_hint(name, known)}`nextbest settings` shows every one"
        for name in found if name.upper() not in known and name not in _NOT_SETTINGS
    ]


def _hint(name: str, known: list[str]) -> str:
    near = get_close_matches(name.upper(), known, n=1)
    return f"Did you mean {near[0]}? " if near else ""


def private(settings: Settings) -> None:
    """What this process keeps is its user's alone, and no key that everybody knows protects real data.

    Raises StartupError.
    """
    os.umask(0o077)
    if settings.data_dir.is_dir():
        settings.data_dir.chmod(0o700)
    if settings.development_keys:
        raise StartupError(
            f"{' and '.join(settings.development_keys)} hold the development key, which everybody knows, and the "
            f"broker is {settings.bootstrap}: set keys of your own, or NEXTBEST_DEVELOPMENT=true where nothing is real"
        )


def log_to_standard_error(settings: Settings) -> None:
    """One line per log record, as every process of ours does."""
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True
    )
