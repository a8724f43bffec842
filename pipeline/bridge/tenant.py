"""Which tenant a request is about: one rule for every endpoint, wherever the tenant is named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pipeline.bridge.api_keys import Grant
from pipeline.core.identity.identifiers import IdentifierError, tenant_name
from pipeline.ingest.refusal import FieldError, invalid

HEADER: Final = "X-Tenant-Id"
_BODY: Final = "/subject/tenant_id"


def named_tenant(grant: Grant, headers: Mapping[str, str], default: str, in_body: str | None = None) -> str:
    """The tenant that header or body names, the key's or the default one where neither does.

    Raises RefusedError for what is no tenant, and where the two differ; Problem where it is another than the key's.
    """
    in_header = headers.get("x-tenant-id")
    if in_header is not None:
        _checked(in_header, f"header:{HEADER}")
    if in_body is not None:
        _checked(in_body, _BODY)
        if in_header is not None and in_body != in_header:
            raise invalid(FieldError(_BODY, f"differs from the {HEADER} header: send one of them, or both the same"))
    return grant.tenant_for(in_body or in_header, default)


def _checked(name: str, pointer: str) -> None:
    try:
        tenant_name(name)
    except IdentifierError as error:
        raise invalid(FieldError(pointer, str(error))) from error
