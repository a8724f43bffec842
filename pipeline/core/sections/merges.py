"""Merges: whose states were merged into this one, by which event, and what each put out of force."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.core.identity.identity_rules import MERGES_MAX
from pipeline.core.model.values import Value, value_field
from pipeline.core.sections.section import Section

if TYPE_CHECKING:
    from pipeline.core.decide.footprint import View
    from pipeline.core.identity.merge import Merging
    from pipeline.core.identity.undo import Undoing


class Merge(Value, frozen=True, omit_defaults=True):
    """A state that was merged into this one."""

    event_id: str
    at_ms: int
    #: What it put out of force, by section, as that section's bytes: looked at only where the merge is undone.
    displaced: dict[str, bytes] = value_field(default_factory=dict)


#: By profile id.
Ledger = dict[str, Merge]

_NOT_NAMED: Final = Merge("", 0)


def _merge(own: Ledger, given: Ledger, merging: Merging) -> Ledger:
    ledger = {**given, **own}
    if merging.counts:
        ledger[merging.given.profile_id] = Merge(merging.event_id, merging.now_ms, merging.displaced)
    ledger.pop(merging.own.profile_id, None)
    if len(ledger) > MERGES_MAX:
        ledger = dict(sorted(ledger.items(), key=lambda entry: (entry[1].at_ms, entry[0]))[-MERGES_MAX:])
    return ledger


def _subtract(own: Ledger, given: Ledger, _: Ledger, undoing: Undoing) -> Ledger:
    """Without the merge itself, and those that came with it."""
    return {key: undoing.less(merge) for key, merge in own.items()
            if key != undoing.given.profile_id and key not in given}


def _read(own: Ledger, _: View) -> Ledger:
    """How many there were, which decides how many timestamps a counter keeps; not whose."""
    return {str(number): _NOT_NAMED for number in range(len(own))} if own else own


MERGED: Final[Section[Ledger]] = Section({}, _merge, subtract=_subtract, read=_read, counts=True)
