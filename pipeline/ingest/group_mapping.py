"""What is said about an account, by a `group` event or by an import, as the core's event. No I/O.

The account's id is hashed under its tenant's key like every identifier; what is personal is dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from pipeline.core.identity import accounts
from pipeline.core.identity.identifiers import IdentifierError, TenantKeys, key_of
from pipeline.core.model.definitions import Attribute
from pipeline.core.model.records import ConsentGrant, Identifier, IdentityEvent, IdentityKind, Scalar
from pipeline.core.rules import readers
from pipeline.ingest.personal_fields import kept
from pipeline.ingest.refusal import FieldError, invalid

#: A contract's parts, kept as the traits `contract_<part>`; the timestamps among them.
CONTRACT: Final = ("starts", "ends", "status", "value", "currency")
_MOMENTS: Final = ("starts", "ends")


def account_of(tenant_keys: TenantKeys, tenant: str, account_id: str, pointer: str = "/groupId") -> Identifier:
    """An account by its hashes. Raises RefusedError naming the field for an id that cannot be one."""
    try:
        return accounts.identifier(tenant_keys, tenant, account_id)
    except IdentifierError as error:
        raise invalid(FieldError(pointer, str(error))) from error


def account_event(
    event_id: str, tenant: str, account: Identifier, traits: Mapping[str, Any], consent: list[ConsentGrant],
    at_ms: int, source: str, warnings: list[str], declared: Mapping[str, Attribute] | None = None,
) -> IdentityEvent | None:
    """The account's event; None where nothing is said about it. Raises RefusedError for a wrong contract."""
    said = kept(flat(traits), "traits", warnings, declared=declared)
    if not said and not consent:
        return None
    return IdentityEvent(event_id, key_of(tenant, account), IdentityKind.TRAITS, at_ms, traits=said, consent=consent,
                         source=source, earlier=account.earlier)


def flat(traits: Mapping[str, Any]) -> dict[str, Any]:
    """The traits with the parts of `contract` as traits of their own, dates as UTC timestamps. Raises RefusedError."""
    rest = {name: value for name, value in traits.items() if name != "contract"}
    contract = traits.get("contract")
    if contract is not None:
        if not isinstance(contract, Mapping):
            raise invalid(FieldError("/traits/contract", f"is an object with any of {', '.join(CONTRACT)}"))
        for part, value in contract.items():
            if part not in CONTRACT:
                raise invalid(FieldError("/traits/contract", f"has a part unknown here: it has {', '.join(CONTRACT)}"))
            rest[f"contract_{part}"] = value
    for part in _MOMENTS:
        if rest.get(f"contract_{part}") is not None:
            rest[f"contract_{part}"] = _moment(rest[f"contract_{part}"], part)
    starts, ends = (rest.get(f"contract_{part}") for part in _MOMENTS)
    if starts is not None and ends is not None and datetime.fromisoformat(ends) < datetime.fromisoformat(starts):
        raise invalid(FieldError("/traits/contract/ends", "lies before the contract starts"))
    return rest


def _moment(value: Scalar, part: str) -> str:
    """A date or a moment, as a moment in RFC 3339; a date is its first moment in UTC."""
    try:
        return readers.moment(value).isoformat()
    except readers.Unreadable as error:
        raise invalid(FieldError(f"/traits/contract/{part}", f"{error}, or as 2027-01-31")) from None
