"""`nextbest settings`: every setting, with secrets masked."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from pydantic import SecretStr, ValidationError

from pipeline.cli.options import settings_with
from pipeline.settings import DEVELOPMENT_KEY, Settings, refusals


def settings(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of a table.")] = False,
) -> None:
    """Show every setting: its value, where it comes from, what it means; status 1 where one cannot be used."""
    values, wrong = _read()
    rows = describe(values, wrong)
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
    else:
        for row in rows:
            typer.echo(f"{row['variable']} = {row['value']}  ({row['from']})\n    {row['meaning']}")
            if "refused" in row:
                typer.secho(f"    Error: cannot be used: {row['refused']}", fg="red")
    if wrong:
        raise typer.Exit(1)


def _read() -> tuple[Settings, dict[str, str]]:
    """The settings, and why some cannot be used: these have their defaults."""
    try:
        return settings_with(), {}
    except ValidationError as error:
        wrong = refusals(error)
    defaults = {name: Settings.model_fields[name].default for name in wrong}
    return Settings(**defaults), wrong


def describe(values: Settings, wrong: Mapping[str, str]) -> list[dict[str, Any]]:
    """One row per setting; a secret's value is never among them.

    :param wrong: why a setting cannot be used, by its name.
    """
    return [
        {
            "variable": (variable := f"NEXTBEST_{name.upper()}"),
            "value": "(cannot be used)" if name in wrong else _shown(getattr(values, name)),
            "from": "environment" if variable in {given.upper() for given in os.environ} else "default",
            "meaning": field.description,
            **({"refused": wrong[name]} if name in wrong else {}),
        }
        for name, field in Settings.model_fields.items()
    ]


def _shown(value: object) -> object:
    if isinstance(value, SecretStr):
        if value.get_secret_value() == DEVELOPMENT_KEY:
            return "(the development key, which everybody knows)"
        return "(set)" if value.get_secret_value() else "(empty)"
    return value if isinstance(value, int | float | bool) else str(value)
