"""The OpenAPI document of the JSON API, generated from its models. Pure."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from cube_oauth.portal.apimodels import AppList, AppState, Problem, SessionState
from cube_oauth.portal.session import SESSION_COOKIE
from cube_oauth.resources.names import VERSION

TOKEN_HEADER = "X-Form-Token"  # noqa: S105 - a header's name
NAMESPACE, APP = "[a-z0-9][a-z0-9-]{0,62}", "[a-z0-9][a-z0-9.-]{0,62}"
"""What stands in addresses (RFC 1123's labels)."""
_MODELS = (AppList, AppState, Problem, SessionState)


def _content(model: str, media: str = "application/json") -> dict[str, Any]:
    return {media: {"schema": {"$ref": f"#/components/schemas/{model}"}}}


def _operation(name: str, summary: str, answers: str | None, **more: Any) -> dict[str, Any]:
    good = {"200": {"description": "Good.", "content": _content(answers)}} if answers else {"204": {"description": "Done."}}
    return {
        "operationId": name,
        "summary": summary,
        "responses": {**good, "default": {"description": "Refused.", "content": _content("Problem", "application/problem+json")}},
        **more,
    }


def _in_path(name: str, pattern: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "pattern": f"^{pattern}$"}}


def document(url: str) -> dict[str, Any]:
    """OpenAPI 3.1, for a portal at ``url``."""
    token = {
        "name": TOKEN_HEADER,
        "in": "header",
        "required": True,
        "schema": {"type": "string"},
        "description": "From the session.",
    }
    one = {
        "parameters": [_in_path("namespace", NAMESPACE), _in_path("app", APP)],
        "get": _operation("getApp", "One app, and the person's connection to it.", "AppState"),
        "delete": _operation("disconnect", "End the person's connection; its tokens are revoked.", None, parameters=[token]),
    }
    _, schemas = models_json_schema([(model, "serialization") for model in _MODELS], ref_template="#/components/schemas/{model}")
    return {
        "openapi": "3.1.0",
        "info": {"title": "Cube connections", "version": VERSION, "description": "The states of a person's connections."},
        "servers": [{"url": url}],
        "security": [{"session": []}],
        "paths": {
            "/api/session": {"get": _operation("getSession", "Who is logged in.", "SessionState")},
            "/api/apps": {"get": _operation("listApps", "All apps that the person may connect.", "AppList")},
            "/api/apps/{namespace}/{app}": one,
        },
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"session": {"type": "apiKey", "in": "cookie", "name": SESSION_COOKIE}},
        },
    }
