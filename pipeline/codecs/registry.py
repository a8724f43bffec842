"""The local schema registry: the `schemas/` folder, ids to files. Reads at import, never writes; knows no values.

`schemas/` lies beside the `pipeline` package, in a checkout as in an installed wheel.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

SCHEMAS_DIR: Final = Path(__file__).resolve().parents[2] / "schemas"


@dataclass(frozen=True)
class Schema:
    """One released schema: never changed, never removed; `id` is what records carry in their bytes 1 to 4."""

    id: int
    subject: str
    version: int
    file: str
    sha256: str

    @property
    def path(self) -> Path:
        return SCHEMAS_DIR / self.file

    @property
    def sample(self) -> Path:
        """One golden record written with this schema."""
        return SCHEMAS_DIR / "samples" / f"{self.subject}.v{self.version}.bin"

    @cached_property
    def definition(self) -> dict[str, Any]:
        """The .avsc as written."""
        loaded: dict[str, Any] = json.loads(self.path.read_text("utf-8"))
        return loaded


def load(directory: Path = SCHEMAS_DIR) -> tuple[Schema, ...]:
    """Every released schema, oldest first. Raises FileNotFoundError with what to do where the folder is missing."""
    registry = directory / "registry.json"
    if not registry.is_file():
        raise FileNotFoundError(
            f"{registry} is missing: the schemas folder must lie beside the pipeline package; "
            "install the whole distribution or run from a checkout"
        )
    return tuple(Schema(**entry) for entry in json.loads(registry.read_text("utf-8")))


SCHEMAS: Final = load()
BY_ID: Final[dict[int, Schema]] = {schema.id: schema for schema in SCHEMAS}
#: The schema that records are written with, by subject.
NEWEST: Final[dict[str, Schema]] = {
    schema.subject: schema for schema in sorted(SCHEMAS, key=lambda schema: schema.version)
}
