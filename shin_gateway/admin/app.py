"""The admin API as one application: health, calls, policies, and the page that tells of them."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from starlette.responses import HTMLResponse, RedirectResponse
from starlette.types import ASGIApp

from shin_gateway.admin import calls, docs, health, policies
from shin_gateway.admin.guard import Guard
from shin_gateway.admin.parts import Parts
from shin_gateway.admin.problems import MEDIA_TYPE, Problem, handle_problems
from shin_gateway.running import is_loopback
from shin_gateway.secret import SecretRef

DESCRIPTION = """What the gateway did and how it is. Every answer is JSON; errors are problem details (RFC 9457).
Where `users` are set in shin.yaml, everything but /health/live wants `Authorization: Bearer` with a user's secret."""

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    422: {"model": Problem, "description": "A filter is wrong or unknown"},
    503: {"model": Problem, "description": "A store is down or slow"},
}


def make_app(parts: Parts, users: Mapping[str, SecretRef], host: str) -> ASGIApp:
    """`host` is the address that it listens on."""
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
    app.include_router(calls.router(parts), responses=_PROBLEMS)
    app.include_router(policies.router(parts))
    _describe(app, bool(users))
    return Guard(app, users, _names(host))


def _names(host: str) -> frozenset[str] | None:
    """Beyond loopback the machine may have any name, and callers show a secret."""
    return frozenset({"localhost", host}) if is_loopback(host) else None


def _describe(app: FastAPI, secured: bool) -> None:
    """Pages about the API, and the description itself with the errors as they really come."""
    written = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _corrected(written(), secured)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]

    @app.get("/docs", include_in_schema=False)
    async def page() -> HTMLResponse:
        return HTMLResponse(docs.page(app.openapi()), headers={"content-security-policy": docs.CSP})

    @app.get("/", include_in_schema=False)
    async def start() -> RedirectResponse:
        return RedirectResponse("/docs")


def _corrected(schema: dict[str, Any], secured: bool) -> dict[str, Any]:
    for operations in schema["paths"].values():
        for status, reply in operations["get"]["responses"].items():
            if int(status) >= 400:
                reply["content"] = {MEDIA_TYPE: reply["content"].pop("application/json")}
            else:
                reply["description"] = "What was asked for"
    if secured:
        schema["components"]["securitySchemes"] = {"user": {"type": "http", "scheme": "bearer"}}
        schema["security"] = [{"user": []}]
        schema["paths"]["/health/live"]["get"]["security"] = []
    return schema
