"""Options that several commands share, and how they override the environment."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Annotated, Any

import typer

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


def settings_with(**options: Any) -> Settings:
    """The environment's settings with the options that were given. Raises pydantic's ValidationError."""
    return Settings(**{name: value for name, value in options.items() if value is not None})


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
