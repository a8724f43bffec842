"""Features: what events add up to, by the key of each feature's definition, each encoded by itself.

What a merge brings is kept apart, under the key and the profile it came from, as long as it may be asked back: so an
undone merge takes out exactly what it had brought. Values are read over all parts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.core.features.kept import decoded, encoded, united
from pipeline.core.sections.section import Section

if TYPE_CHECKING:
    from pipeline.core.decide.footprint import View
    from pipeline.core.identity.merge import Merging
    from pipeline.core.identity.undo import Undoing

Features = dict[str, bytes]

#: What parts a feature's key from the profile that brought this part of it in a merge.
APART: Final = "|"


def joined(own: bytes | None, other: bytes) -> bytes:
    """What two profiles kept of one feature, as one."""
    if not own or not other:
        return own or other
    return encoded(united(decoded(own), decoded(other)))


def _merge(own: Features, given: Features, merging: Merging) -> Features:
    result, brought_by = dict(own), merging.given.profile_id
    # A state that comes home, or is taken over by another key, is not brought by a merge.
    apart = bool(merging.event_id) and brought_by != merging.own.profile_id
    for name, data in given.items():
        if APART in name or not apart:
            result[name] = joined(result.get(name), data)
            continue
        part = name + APART + brought_by
        if part in result:
            # Brought by an earlier merge of the same profile, which can be undone no longer.
            result[name] = joined(result.get(name), result[part])
        result[part] = data
    return result


def _subtract(own: Features, given: Features, _: Features, undoing: Undoing) -> Features:
    gone = {name if APART in name else name + APART + undoing.given.profile_id for name in given}
    return {name: data for name, data in own.items() if name not in gone}


def _read(own: Features, view: View) -> Features:
    """Those within reach; how many parts there are, not whose."""
    result: Features = {}
    for name, data in own.items():
        key, apart, _ = name.partition(APART)
        if key in view.features:
            result[f"{key}{APART}{len(result)}" if apart else key] = data
    return result


FEATURES: Final[Section[Features]] = Section({}, _merge, subtract=_subtract, read=_read, counts=True)
