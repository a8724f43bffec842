"""A tenant's rules about identifiers, compiled: types by strength, limits, what is blocked. Values, no behaviour."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from pipeline.core.rules.patterns import Pattern

USER_ID: Final = "user_id"
ANONYMOUS_ID: Final = "anonymous_id"
EMAIL: Final = "email"
PHONE: Final = "phone"
DEVICE: Final = "device"
COOKIE: Final = "cookie"

#: A closed list: a misspelt type would silently be a second subject, with caps of its own.
TYPES: Final = (
    USER_ID, ANONYMOUS_ID, EMAIL, PHONE, DEVICE, COOKIE, "crm_id", "loyalty_id", "external_id",
)

#: The engine's own bounds on what one profile keeps; a policy may set less.
LINKS_MAX: Final = 200
MERGES_MAX: Final = 100

DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class TypeRule:
    """One type of identifier. `limit` None: as many as the profile may have links."""

    #: Place in the order of strength; 0 is the strongest.
    priority: int
    limit: int | None = None
    #: How far back links count towards the limit; None: for ever.
    window_ms: int | None = None
    #: Whether it is shared, as a device: it follows the latest login instead of joining two people.
    follows: bool = False
    #: Values that stand for nobody: in lower case, and as patterns of the whole value.
    blocked: frozenset[str] = frozenset()
    patterns: tuple[Pattern, ...] = ()


@dataclass(frozen=True, slots=True)
class IdentityRules:
    """All of them for one tenant."""

    types: Mapping[str, TypeRule] = field(default_factory=dict)
    #: The country of phone numbers written without one (ISO 3166, two letters).
    phone_region: str | None = None
    links_max: int = 100
    merges_max: int = 50
    #: How long what a merge gave up is kept at its own key to undo it.
    undo_ms: int = 30 * DAY_MS

    def of(self, type_: str) -> TypeRule:
        """The rule of a type; a type that nobody named (an untyped alias) is the weakest and has no limit."""
        return self.types.get(type_, _UNTYPED)


#: Strongest first.
PRIORITY: Final = (
    USER_ID, "crm_id", "loyalty_id", "external_id", EMAIL, PHONE, DEVICE, COOKIE, ANONYMOUS_ID,
)

_UNTYPED: Final = TypeRule(len(PRIORITY))

#: What practice has settled on: one account per person, a handful of addresses, devices by the season.
LIMITS: Final[Mapping[str, tuple[int, int | None]]] = {
    USER_ID: (1, None), "crm_id": (1, None), "loyalty_id": (5, None), "external_id": (5, None), EMAIL: (5, None),
    PHONE: (5, None), DEVICE: (20, 90 * DAY_MS), COOKIE: (20, 30 * DAY_MS), ANONYMOUS_ID: (20, 30 * DAY_MS),
}
SHARED: Final = frozenset((DEVICE, COOKIE, ANONYMOUS_ID))


def in_order(named: Iterable[str]) -> tuple[str, ...]:
    """Every type, strongest first: those named, then the rest as usual."""
    return tuple(dict.fromkeys((*named, *PRIORITY)))


DEFAULT: Final = IdentityRules({
    type_: TypeRule(place, *LIMITS[type_], follows=type_ in SHARED) for place, type_ in enumerate(PRIORITY)
})
