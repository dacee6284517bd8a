"""Images, sound and files through the proxy, seen and not changed; and uploads to a gateway with users."""

from __future__ import annotations

import io
from pathlib import Path

import httpx2
import openai
import pytest
from google import genai
from google.genai import errors as genai_errors
from google.genai import types

from tests.e2e.keeper import MP3, Keeper, media
from tests.e2e.serving import Serving, serve, write_config
from tests.provider import FakeProvider

SOUND = b"RIFF" + bytes(range(256)) * 64


def client(secure: FakeProvider, http: httpx2.AsyncClient) -> openai.AsyncOpenAI:
    url = f"https://localhost:{secure.port}/v1"
    return openai.AsyncOpenAI(api_key="sk-own", base_url=url, http_client=http, max_retries=0)


async def test_the_proxy_sees_and_changes_nothing(serving: Serving, secure: FakeProvider) -> None:
    secure.rule = media
    async with serving.client() as http:
        said = await client(secure, http).audio.transcriptions.create(model="gpt-4o-transcribe", file=("a.wav", SOUND))
        assert said.text == "hello there"
        assert SOUND in secure.seen[0].body
        assert secure.seen[0].header("authorization") == "Bearer sk-own"
        sound = await client(secure, http).audio.speech.create(model="tts-1", voice="alloy", input="hello")
        assert sound.content == MP3
    first, second = await serving.rows(2)
    assert (first.kind, first.model, first.output_tokens) == ("transcript", "gpt-4o-transcribe", 20)
    assert (second.kind, second.model, second.host) == ("speech", "tts-1", "localhost")


async def test_files_through_the_proxy(serving: Serving, secure: FakeProvider) -> None:
    """One that is too large to be kept passes unread: refused by a proxy, it could be sent nowhere."""
    serving.policy("local", f"hosts: ['localhost:{secure.port}']\nextends: observe\nlimits: {{body: 1kB}}\n")
    await serving.worker.reload()
    secure.rule = Keeper(secure.url, "/v1", "openai")
    async with serving.client() as http:
        made = await client(secure, http).files.create(file=("a.jsonl", b"x" * 200_000), purpose="batch")
        assert made.bytes > 200_000
        assert (await client(secure, http).files.retrieve(made.id)).id == made.id
    (row,) = await serving.rows()
    assert (row.kind, row.dialect, row.status, row.cost) == ("file", "openai.files", 200, None)


async def test_an_upload_to_a_gateway_with_users(
    tmp_path: Path, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK sends no key to the URL at which an upload goes on."""
    monkeypatch.setenv("ANNA", "sk-anna")
    monkeypatch.setenv("BEN", "sk-ben")
    provider.rule = Keeper(provider.url, "", "gemini")
    config = write_config(tmp_path, {"gemini": provider.url}, "users: {anna: env:ANNA, ben: env:BEN}")
    async with (
        serve(tmp_path / "home", config, tmp_path / "policies", keep_host_header=True) as serving,
        httpx2.AsyncClient(trust_env=False) as http,
    ):
        options = types.HttpOptions(base_url=serving.gateway, httpx_async_client=http)
        anna = genai.Client(api_key="sk-anna", http_options=options).aio
        made = await anna.files.upload(file=io.BytesIO(b"hello"), config={"mime_type": "text/plain"})
        assert made.name is not None
        assert (await anna.files.get(name=made.name)).name == made.name
        ben = genai.Client(api_key="sk-ben", http_options=options).aio
        with pytest.raises(genai_errors.ClientError) as others:
            await ben.files.get(name=made.name)
        assert others.value.code == 404
        loose = await http.post(f"{serving.gateway}/upload/v1/files?upload_id=u1", content=b"hello")
        assert loose.status_code == 401
        assert {row.caller for row in await serving.rows(4)} >= {"anna", "ben"}
