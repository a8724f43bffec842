"""Which version of an item is live: the newest that fits the release, of the last few that were published.

So what is live depends on what was published alone, not on when a process began to read it: a worker that starts, one
that has been following, and a reader that rebuilds a catalog as it was all have the same.
"""

from __future__ import annotations

from typing import Final, TypeVar

from pipeline.core.model.definitions import Item
from pipeline.core.model.problems import DefinitionError
from pipeline.core.release.catalog import ItemCompiler

#: The newest version, and those before it that may stand in for it while it does not fit.
VERSIONS_KEPT: Final = 4

#: The part of a key of `policy.releases`, behind the tenant, of the record that says which release is live.
ACTIVE: Final = "@active"

T = TypeVar("T")


def with_newest(versions: tuple[T, ...], newest: T) -> tuple[T, ...]:
    """The versions, the newest first, with one more; published again as it is, it is none."""
    return versions if versions[:1] == (newest,) else (newest, *versions[: VERSIONS_KEPT - 1])


def fitting(compiler: ItemCompiler, item_id: str, versions: tuple[str, ...]) -> tuple[Item | None, str]:
    """The newest version that fits the compiler's release, compiled, None where none does; and what is wrong with the
    newest of all, "" for nothing."""
    wrong = ""
    for body in versions:
        try:
            return compiler.compile(item_id, body), wrong
        except DefinitionError as error:
            wrong = wrong or str(error)
    return None, wrong
