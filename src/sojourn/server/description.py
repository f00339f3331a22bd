"""The API's description: what FastAPI makes of the routes, and what all of them have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from sojourn.server.auth import PUBLIC

_RETRY = {"Retry-After": {"description": "after how many seconds to try again", "schema": {"type": "integer"}}}

_REFUSED = "no key is asked for, and this came under a foreign name or from a foreign web page"

#: What any call below /api may be answered with; those that are sent something; and those that change something.
_ALWAYS = {
    "401": "the key is missing or wrong",
    "403": _REFUSED,
    "500": "the server or its storage failed",
    "503": "the server is closing, or its storage cannot be reached",
}
_SENT = {"408": "the body stopped coming", "413": "the body is too large"}
_CHANGING = {"507": "the storage is full"}

_KEY = "key"


def describe(app: FastAPI, *, with_key: bool) -> dict[str, Any]:
    """The application's description; made once."""
    if app.openapi_schema is None:
        found = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        schemas = found["components"]["schemas"]
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        for path, operations in found["paths"].items():
            for method, described in operations.items():
                _describe_errors(described["responses"], _common(path, method, described))
                if with_key and path in PUBLIC:
                    described["security"] = []
        if with_key:
            found["components"]["securitySchemes"] = {_KEY: {"type": "http", "scheme": "bearer"}}
            found["security"] = [{_KEY: []}]
        app.openapi_schema = found
    return app.openapi_schema


def _common(path: str, method: str, described: Mapping[str, Any]) -> Mapping[str, str]:
    """The errors of a call that are not its own, and what they say."""
    if path in PUBLIC:
        return {}
    return {
        **_ALWAYS, **(_SENT if "requestBody" in described else {}), **(_CHANGING if method != "get" else {})
    }  # fmt: skip


def _describe_errors(responses: dict[str, Any], common: Mapping[str, str]) -> None:
    """Errors are JSON, also where a route's answers are not."""
    if "HTTPValidationError" in str(responses.get("422")):
        del responses["422"]
    shape = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorAnswer"}}}
    for status, text in common.items():
        responses.setdefault(status, {"description": text, "content": shape})
    for status, told in responses.items():
        if status >= "400" and (content := told.get("content")):
            told["content"] = {"application/json": next(iter(content.values()))}
    if "503" in responses:
        responses["503"]["headers"] = _RETRY
