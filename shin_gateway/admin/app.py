"""The admin API as one application: health, calls, policies, and the page that tells of them."""

from __future__ import annotations

import importlib.metadata
from typing import Any

from fastapi import FastAPI
from starlette.responses import HTMLResponse, RedirectResponse
from starlette.types import ASGIApp

from shin_gateway.admin import actions, budgets, calls, dlq, docs, health, kept, keys, policies
from shin_gateway.admin.credentials import Credentials
from shin_gateway.admin.guard import Guard
from shin_gateway.admin.parts import Parts
from shin_gateway.admin.problems import MEDIA_TYPE, Problem, handle_problems
from shin_gateway.running import is_loopback
from shin_gateway.secret import SecretRef

DESCRIPTION = """What the gateway did and how it is. Every answer is JSON; errors are problem details (RFC 9457).
`Authorization: Bearer` takes a user's secret, a virtual key, a token of an identity provider, or what lies in
admin.token under the home folder. Where users are set in shin.yaml, a policy has the addon auth, or it listens beyond
loopback, everything but /health/live wants it; else calls, usage and policies can be read without, and nothing can be
changed. What one may is a matter of one's roles."""

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    403: {"model": Problem, "description": "A permission is missing; the detail says which"},
    422: {"model": Problem, "description": "What was asked for is wrong or unknown"},
    503: {"model": Problem, "description": "A store is down or slow"},
}


def make_app(parts: Parts, token: SecretRef, host: str) -> ASGIApp:
    """`token` is that of this machine, `host` the address that it listens on."""
    app = FastAPI(
        title="Shin Gateway",
        summary="Admin API",
        description=DESCRIPTION,
        version=importlib.metadata.version("shin-gateway"),
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    handle_problems(app)
    app.include_router(health.router(parts))
    for part in (calls, policies, keys, budgets, actions, dlq, kept):
        app.include_router(part.router(parts), responses=_PROBLEMS)
    _describe(app)
    credentials = Credentials(token, parts.identity, parts.roles)
    return Guard(app, credentials, lambda: _is_closed(parts, host), _names(host))


def _is_closed(parts: Parts, host: str) -> bool:
    """Whether everybody has to say who he is; policies may change while we run."""
    if not is_loopback(host) or parts.identity.users:
        return True
    return any(addon.name == "auth" for policy in parts.policies for addon in policy.addons)


def _names(host: str) -> frozenset[str] | None:
    """Beyond loopback the machine may have any name, and callers show a secret."""
    return frozenset({"localhost", host}) if is_loopback(host) else None


def _describe(app: FastAPI) -> None:
    """Pages about the API, and the description itself with the errors as they really come."""
    written = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _corrected(written())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]

    @app.get("/docs", include_in_schema=False)
    async def page() -> HTMLResponse:
        return HTMLResponse(docs.page(app.openapi()), headers={"content-security-policy": docs.CSP})

    @app.get("/", include_in_schema=False)
    async def start() -> RedirectResponse:
        return RedirectResponse("/docs")


def _corrected(schema: dict[str, Any]) -> dict[str, Any]:
    operations = [operation for methods in schema["paths"].values() for operation in methods.values()]
    for status, reply in (one for operation in operations for one in operation["responses"].items()):
        if int(status) < 400:
            reply["description"] = "What was asked for"
        elif "application/json" in reply.get("content", ()):
            reply["content"] = {MEDIA_TYPE: reply["content"].pop("application/json")}
    schema["components"]["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    schema["security"] = [{"bearer": []}]
    schema["paths"]["/health/live"]["get"]["security"] = []
    return schema
