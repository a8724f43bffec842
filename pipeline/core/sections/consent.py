"""Consent: the statements in force, one register for each thing that one decides (`core/consent/answers.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.core.consent import answers
from pipeline.core.model.words import ConsentGrant
from pipeline.core.sections.mappings import overruled
from pipeline.core.sections.section import Section

if TYPE_CHECKING:
    from pipeline.core.decide.footprint import View
    from pipeline.core.identity.merge import Merging
    from pipeline.core.identity.undo import Undoing

Grants = dict[str, ConsentGrant]


def _merge(own: Grants, given: Grants, _: Merging) -> Grants:
    return answers.merged(own, given)


def _subtract(own: Grants, given: Grants, displaced: Grants, _: Undoing) -> Grants:
    """Without the permissions that came from the other side, with what they had put out of force. Refusals stay."""
    result = dict(own)
    for key, answer in own.items():
        if answer.granted and answer == given.get(key):
            del result[key]
            if key in displaced:
                result[key] = displaced[key]
    return result


def _returned(given: Grants, holder: Grants) -> Grants:
    """As it was, with every refusal that was given to the whole since."""
    result = dict(given)
    for key, answer in holder.items():
        known = result.get(key)
        if not answer.granted and (known is None or answer.at_ms > known.at_ms):
            result[key] = answer
    return result


def _read(own: Grants, view: View) -> Grants:
    return {key: grant for key, grant in own.items() if grant.purpose in view.footprint.purposes}


CONSENT: Final[Section[Grants]] = Section({}, _merge, overruled, _subtract, _returned, read=_read, counts=True)
