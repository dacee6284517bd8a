"""Errors as problem details (RFC 9457). They say what the asker can do about it, and nothing of the inside."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.requests import Request

from shin_gateway.stores.errors import StoreError, StoreTimeout

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"


class Fault(BaseModel):
    """One thing that is wrong with what was asked."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    where: str
    """`query.limit`."""
    message: str


class Problem(BaseModel):
    """Why there is no answer (RFC 9457)."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    type: str = "about:blank"
    """Always `about:blank`: the status says what kind of problem it is."""
    title: str
    """The status in words."""
    status: int
    detail: str | None = None
    """What happened this time."""
    errors: list[Fault] | None = None
    """With status 422: everything that is wrong."""


def problem(
    status: int, detail: str | None = None, headers: Mapping[str, str] | None = None, **more: Any
) -> JSONResponse:
    """A reply; `more` are members beside the standard ones."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    body |= {"detail": detail} if detail else {}
    return JSONResponse(body | more, status, headers, MEDIA_TYPE)


def handle_problems(app: FastAPI) -> None:
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(StoreError, _store)
    app.add_exception_handler(Exception, _unexpected)


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    faults = error.errors() if isinstance(error, RequestValidationError) else ()
    # Without the input that pydantic adds: an answer repeats nothing that came from outside.
    errors = [{"where": ".".join(map(str, one["loc"])), "message": _message(one)} for one in faults]
    return problem(422, "; ".join(f"{one['where']}: {one['message']}" for one in errors), errors=errors)


def _message(fault: Mapping[str, Any]) -> str:
    return str(fault["msg"]).removeprefix("Value error, ")


async def _http(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        return await _unexpected(request, error)
    detail = error.detail if error.detail != HTTPStatus(error.status_code).phrase else None
    return problem(error.status_code, detail, error.headers)


async def _store(request: Request, error: Exception) -> JSONResponse:
    log.warning("%s could not be answered: %s", request.url.path, error)
    why = "did not answer in time" if isinstance(error, StoreTimeout) else "is not there"
    return problem(503, f"The store {why}. Nothing is lost: /health/ready says more.", {"retry-after": "5"})


async def _unexpected(_: Request, __: Exception) -> JSONResponse:
    """Starlette raises the error again for the server's log once this is sent."""
    return problem(500, "The reason is in the log of the admin process.")
