from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest

from shin_gateway.assembly import Places
from shin_gateway.stores.embedded import EmbeddedState
from tests.admin.conftest import LAB, Running, running

PROBLEM = "application/problem+json"


async def test_policies_with_their_chain(admin: Running) -> None:
    answer = (await admin.get("/api/v1/policies")).json
    lab = next(policy for policy in answer["policies"] if policy["name"] == "lab")
    assert lab["hosts"] == ["lab.example.com"]
    assert (lab["websocket"], lab["proxy_auth"], lab["timeouts"]["idle"]) == ("carry", "optional", 7.0)
    assert lab["origins"]["timeouts"] == "lab.yaml:4:1"
    stamp = next(addon for addon in lab["addons"] if addon["name"] == "stamp")
    assert stamp == {
        "name": "stamp",
        "stage": "shape",
        "mode": "shadow",
        "settings": {"key": "env:LAB_KEY", "ratio": 0.5},
        "origin": "lab.yaml:7:3",
    }
    assert [off["name"] for off in lab["off"]] == ["retry"]
    stages = [addon["stage"] for addon in lab["addons"]]
    assert stages.index("observe") < stages.index("shape") < stages.index("wire")
    assert {"openai", "anthropic", "gateway"} <= {policy["name"] for policy in answer["policies"]}


async def test_a_secret_is_shown_as_its_reference(admin: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_KEY", "sk-very-secret")
    answer = await admin.get("/api/v1/policies")
    assert b"env:LAB_KEY" in answer.body
    assert b"sk-very-secret" not in answer.body


async def test_policies_follow_their_files(admin: Running, places: Places) -> None:
    before = (await admin.get("/api/v1/policies")).json["digest"]
    file = places.policies[0] / "lab.yaml"
    file.write_text(LAB.replace("7s", "9s"))
    while (answer := (await admin.get("/api/v1/policies")).json)["digest"] == before:
        await asyncio.sleep(0.1)
    lab = next(policy for policy in answer["policies"] if policy["name"] == "lab")
    assert lab["timeouts"]["idle"] == 9.0


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("POST", "/api/v1/calls", 405), ("GET", "/api/v1/calls/", 404), ("GET", "/%00/..", 404)],
)
async def test_errors_are_problem_details(admin: Running, method: str, path: str, status: int) -> None:
    answer = await admin.get(path, method)
    assert (answer.status, answer.kind, answer.json["status"]) == (status, PROBLEM, status)
    if status == 405:
        assert answer.headers["allow"] == "GET"


async def test_a_defect_of_ours_tells_nothing(admin: Running, caplog: pytest.LogCaptureFixture) -> None:
    admin.parts.analytics = "SELECT secret"  # type: ignore[assignment]
    answer = await admin.get("/api/v1/calls")
    assert (answer.status, answer.kind) == (500, PROBLEM)
    assert b"SELECT" not in answer.body
    assert b"Traceback" not in answer.body
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "AttributeError" in caplog.text


async def test_every_answer_is_kept_from_browsers_tricks(admin: Running) -> None:
    for path in ("/health/live", "/docs", "/nowhere", "/api/v1/calls", "/openapi.json"):
        headers = (await admin.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers


async def test_the_description_says_what_comes(admin: Running) -> None:
    api = (await admin.get("/openapi.json")).json
    assert set(api["paths"]) >= {"/health/live", "/health/ready", "/api/v1/calls", "/api/v1/usage", "/api/v1/policies"}
    calls = api["paths"]["/api/v1/calls"]["get"]
    assert {one["name"] for one in calls["parameters"]} >= {"since", "until", "caller", "limit", "before"}
    for operation in (one for methods in api["paths"].values() for one in methods.values()):
        for status, reply in operation["responses"].items():
            kinds = list(reply.get("content", ()))
            assert kinds == [PROBLEM if status >= "400" else "application/json"] or (status, kinds) == ("204", [])
    assert "HTTPValidationError" not in api["components"]["schemas"]


async def test_the_page_needs_nothing_from_elsewhere(admin: Running) -> None:
    answer = await admin.get("/docs")
    page = answer.body.decode()
    assert (answer.status, answer.kind) == (200, "text/html")
    assert "<script" not in page
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page)
    targets, ids = set(re.findall(r'href="#([^"]+)"', page)), set(re.findall(r'id="([^"]+)"', page))
    assert targets <= ids
    for path in ("/health/ready", "/api/v1/calls", "/api/v1/policies"):
        assert f"<code>{path}</code>" in page
    start = await admin.get("/")
    assert (start.status, start.headers["location"]) == (307, "/docs")


async def test_users_close_everything_but_live(
    places: Places, embedded: EmbeddedState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANN", "ann-sécret")
    config = tmp_path / "shin.yaml"
    config.write_text("users: {gone: env:NOT_SET, ann: env:ANN}\n")
    async with running(Places(places.home, config, places.policies, places.addons)) as admin:
        assert (await admin.get("/health/live")).status == 200
        for path in ("/health/ready", "/api/v1/calls", "/docs", "/openapi.json", "/nowhere", "/", "//health/live"):
            answer = await admin.get(path)
            assert (answer.status, answer.kind) == (401, PROBLEM), path
            assert answer.headers["www-authenticate"].startswith("Bearer ")
        for wrong in ("Bearer ", "Bearer env:ANN", "Basic ann-secret", "ann-secret", "Bearer ann-secre"):
            assert (await admin.get("/api/v1/calls", Authorization=wrong)).status == 401
        right = "bearer " + "ann-sécret".encode().decode("latin-1")
        assert (await admin.get("/api/v1/calls", Authorization=right)).status == 200
        local = (places.home / "admin.token").read_text()  # whoever can read it may ask, as `shin tail` does
        assert (await admin.get("/api/v1/calls", Authorization=f"Bearer {local}")).status == 200
        assert (places.home / "admin.token").stat().st_mode & 0o077 == 0
        api = (await admin.get("/openapi.json", Authorization=right)).json
        assert api["security"] == [{"bearer": []}]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:4040", 200),
        ("localhost:4040", 200),
        ("LOCALHOST", 200),
        ("[::1]:4040", 200),
        ("evil.example", 421),
        ("evil.example:4040", 421),
        ("127.0.0.1.evil.example", 421),
        ("[evil", 421),
        ("", 421),
    ],
)
async def test_a_name_that_leads_here_from_elsewhere_is_refused(admin: Running, host: str, status: int) -> None:
    answer = await admin.get("/health/live", Host=host)
    assert answer.status == status
    assert status == 200 or answer.kind == PROBLEM


async def test_beyond_loopback_any_name_will_do(places: Places, embedded: EmbeddedState) -> None:
    async with running(places, host="0.0.0.0") as admin:
        assert (await admin.get("/health/live", Host="shin.internal")).status == 200


def test_mitmproxy_stays_out() -> None:
    code = "import sys, shin_gateway.admin.__main__; print('mitmproxy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
