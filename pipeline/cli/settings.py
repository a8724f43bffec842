"""`nextbest settings`: every setting, with secrets masked."""

from __future__ import annotations

import json
import os
from typing import Annotated, Any

import typer
from pydantic import SecretStr

from pipeline.cli.options import settings_with
from pipeline.settings import DEVELOPMENT_KEY, Settings


def settings(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of a table.")] = False,
) -> None:
    """Show every setting: its value, where it comes from, what it means."""
    rows = describe(settings_with())
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        typer.echo(f"{row['variable']} = {row['value']}  ({row['from']})\n    {row['meaning']}")


def describe(values: Settings) -> list[dict[str, Any]]:
    """One row per setting; a secret's value is never among them."""
    return [
        {
            "variable": (variable := f"NEXTBEST_{name.upper()}"),
            "value": _shown(getattr(values, name)),
            "from": "environment" if variable in {given.upper() for given in os.environ} else "default",
            "meaning": field.description,
        }
        for name, field in Settings.model_fields.items()
    ]


def _shown(value: object) -> object:
    if isinstance(value, SecretStr):
        if value.get_secret_value() == DEVELOPMENT_KEY:
            return "(the development key, which everybody knows)"
        return "(set)" if value.get_secret_value() else "(empty)"
    return value if isinstance(value, int | float | bool) else str(value)
