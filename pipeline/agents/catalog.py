"""`catalog.items`: checks every item as it arrives, so that a bad one is a dead letter with what is wrong.

Names in its rules are judged where it is used, against each release that goes live: an item may come before the
release that declares what it reads.
"""

from __future__ import annotations

from pipeline.core.model.problems import DefinitionError
from pipeline.core.model.records import CatalogItem
from pipeline.core.release.catalog import check_shape
from pipeline.flow import Accept, Context, DeadLetter, Outcome, Reason


def handle(event: CatalogItem, state: None, ctx: Context) -> Outcome:
    """Accept an item whose body has the shape of one and whose rules can be read."""
    try:
        check_shape(event.item_id, event.body)
    except DefinitionError as error:
        return DeadLetter(Reason.INVALID, f"{error}; run `nextbest policy check` and publish again")
    return Accept(Reason.APPLIED)
