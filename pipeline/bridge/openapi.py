"""The operations of the bridge as one table: what is routed is what the OpenAPI document says, and nothing else.

The endpoints read their bodies themselves, once, straight into the models that the document points to.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import Response

from pipeline.bridge import problems
from pipeline.bridge.problems import Kind

VERSION: Final = "1"

DESCRIPTION: Final = (
    "Ask for the next best action, offer or content, and send the events that it is decided from. "
    "Errors are RFC 9457 problem details; each `type` is explained at its own address."
)

EVERY_DOOR: Final = (
    problems.MALFORMED_JSON, problems.UNAUTHORIZED, problems.FORBIDDEN, problems.BODY_TOO_LARGE,
    problems.UNSUPPORTED_MEDIA_TYPE, problems.INVALID_REQUEST,
)

_REF: Final = "#/components/schemas/{model}"
_SECURITY: Final[list[dict[str, list[str]]]] = [{}, {"bearer": []}, {"apiKey": []}, {"basic": []}]

Endpoint = Callable[[Request], Awaitable[Response]]
Header = tuple[str, str, dict[str, Any]]
Models = tuple[type[BaseModel], ...]


class ProblemError(BaseModel):
    """What is wrong with one field."""

    pointer: str
    message: str


class ProblemBody(BaseModel):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[ProblemError] | None = None


@dataclass(frozen=True, slots=True)
class Success:
    """What is answered where all is well. `model` None: a text."""

    status: int
    meaning: str
    model: type[BaseModel] | None = None


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path: its endpoint, and all that the document says of it."""

    method: str
    path: str
    endpoint: Endpoint
    name: str
    tag: str
    summary: str
    success: Success
    description: str = ""
    #: The body's model, or one of these.
    bodies: Models = ()
    problems: tuple[Kind, ...] = ()
    headers: tuple[Header, ...] = ()
    #: Texts in the path, or after the question mark (not required).
    path_names: tuple[str, ...] = ()
    query_names: tuple[str, ...] = ()
    keyed: bool = True
    #: Media types of the body.
    media_types: tuple[str, ...] = field(default=("application/json",))

    @property
    def once(self) -> dict[bytes, str]:
        """The headers that say one thing, by their names as a request has them: given twice, one would be passed over.
        """
        names = [name for name, _, _ in self.headers]
        names += ["Authorization", "X-Api-Key"] if self.keyed else []
        names += ["Content-Type", "Content-Encoding"] if self.bodies else []
        return {name.lower().encode(): name for name in names}


def document(operations: Sequence[Operation]) -> dict[str, Any]:
    """The OpenAPI 3.1 document of the operations."""
    paths: dict[str, dict[str, Any]] = {}
    for one in operations:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one)
    models: list[tuple[type[BaseModel], Any]] = [(ProblemBody, "serialization")]
    for one in operations:
        models += [(body, "validation") for body in one.bodies]
        if one.success.model is not None:
            models.append((one.success.model, "serialization"))
    _, schema = models_json_schema(list(dict.fromkeys(models)), ref_template=_REF)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Nextbest", "version": VERSION, "description": DESCRIPTION},
        "paths": paths,
        "components": {
            "schemas": schema["$defs"],
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
                "basic": {"type": "http", "scheme": "basic", "description": "The key as the user, no password."},
            },
        },
    }


def _operation(one: Operation) -> dict[str, Any]:
    said: dict[str, Any] = {"tags": [one.tag], "summary": one.summary, "operationId": one.name}
    if one.description:
        said["description"] = one.description
    if one.keyed:
        said["security"] = _SECURITY
    parameters = [
        *({"name": name, "in": "header", "required": False, "description": meaning, "schema": schema}
          for name, meaning, schema in one.headers),
        *({"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in one.path_names),
        *({"name": name, "in": "query", "required": False, "schema": {"type": "string"}} for name in one.query_names),
    ]
    if parameters:
        said["parameters"] = parameters
    if one.bodies:
        schemas = [_ref(body) for body in one.bodies]
        schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
        said["requestBody"] = {"required": True, "content": {media: {"schema": schema} for media in one.media_types}}
    model = one.success.model
    content = {"text/plain": {"schema": {"type": "string"}}} if model is None else {
        "application/json": {"schema": _ref(model)}}
    said["responses"] = {
        str(one.success.status): {"description": one.success.meaning, "content": content},
        **_problem_responses(one.problems),
    }
    return said


def _problem_responses(kinds: tuple[Kind, ...]) -> dict[str, Any]:
    by_status: dict[int, list[Kind]] = {}
    for kind in kinds:
        by_status.setdefault(kind.status, []).append(kind)
    return {
        str(status): {
            "description": " / ".join(kind.title for kind in same),
            "content": {problems.MEDIA_TYPE: {
                "schema": _ref(ProblemBody),
                "examples": {kind.slug: {"value": {
                    "type": kind.type, "title": kind.title, "status": kind.status, "detail": kind.advice,
                }} for kind in same},
            }},
        }
        for status, same in sorted(by_status.items())
    }


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REF.format(model=model.__name__)}
