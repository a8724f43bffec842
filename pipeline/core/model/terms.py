"""What a release says about consent: purposes with their legal bases, and what others call them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.core.model.words import Basis


@dataclass(frozen=True, slots=True)
class Purpose:
    """What data may be used for, and what makes it lawful."""

    id: str
    #: Any one of them is enough; the first that holds is the one the audit names.
    bases: tuple[Basis, ...] = (Basis.CONSENT,)
    #: After this a statement without an end of its own no longer permits anything.
    lasts_ms: int | None = None
    #: Channels on which only a confirmed consent counts, and how long a pending one may be confirmed.
    double_opt_in: frozenset[str] = frozenset()
    confirm_within_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Tcf:
    """Our number in IAB's list of vendors, and the framework's purposes that each of ours needs, all of them."""

    vendor: int
    purposes: Mapping[str, tuple[int, ...]]
    #: How long a string counts after it was written.
    lasts_ms: int
