"""Images, sound, moderation, files and batches: the official Python clients through the gateway."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import anthropic
import httpx2
import openai
import pytest
import pytest_asyncio
from google import genai
from google.genai import errors as genai_errors
from google.genai import types

from shin_gateway.stores.rows import CallRow
from tests.e2e.keeper import MP3, PNG, Keeper, media
from tests.e2e.serving import Serving, serve, write_config
from tests.provider import UNAVAILABLE, Answer, FakeProvider, Seen

ALIASES = "{draw: openai/gpt-image-1, listen: groq/whisper-large-v3, imagen-fast: vertex/imagen-4.0-fast}"
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
NUMBERS = itertools.count(1)
pytestmark = pytest.mark.asyncio(loop_scope="module")
SOUND = b"RIFF" + bytes(range(256)) * 64


@dataclass
class Office:
    """A gateway with four providers, each at a place of its own on one fake."""

    serving: Serving
    provider: FakeProvider
    http: httpx2.AsyncClient
    keepers: dict[str, Keeper]
    began: datetime = LONG_AGO
    """When the test began: rows of the test before may come late."""

    async def rows(self, count: int = 1) -> list[CallRow]:
        """Of the test's own calls, once there are so many."""
        async with asyncio.timeout(20):
            while True:
                rows = [row for row in await self.serving.rows() if row.at >= self.began]
                if len(rows) >= count:
                    return rows
                await asyncio.sleep(0.02)

    def openai(self, key: str = "sk-anna", **more: Any) -> openai.AsyncOpenAI:
        url = f"{self.serving.gateway}/v1"
        return openai.AsyncOpenAI(api_key=key, base_url=url, http_client=self.http, max_retries=0, **more)

    def anthropic(self, key: str = "sk-anna") -> anthropic.AsyncAnthropic:
        return anthropic.AsyncAnthropic(
            api_key=key, base_url=self.serving.gateway, http_client=self.http, max_retries=0
        )

    def genai(self, key: str = "sk-anna") -> genai.Client:
        options = types.HttpOptions(base_url=self.serving.gateway, httpx_async_client=self.http)
        return genai.Client(api_key=key, http_options=options)

    def vertex(self) -> genai.Client:
        options = types.HttpOptions(base_url=self.serving.gateway, httpx_async_client=self.http)
        return genai.Client(vertexai=True, api_key="sk-anna", http_options=options)

    @property
    def seen(self) -> Seen:
        return self.provider.seen[-1]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Office]:
    """One gateway for all of these tests."""
    folder = tmp_path_factory.mktemp("office")
    policies = folder / "policies"
    policies.mkdir()
    async with FakeProvider() as provider, httpx2.AsyncClient(trust_env=False) as http:
        url = provider.url
        urls = {"openai": f"{url}/o/v1", "groq": f"{url}/groq/openai/v1", "anthropic": f"{url}/a", "gemini": url}
        urls["vertex"] = f"{url}/v1/projects/p/locations/l"
        config = write_config(folder, urls, f"models: {ALIASES}")
        async with serve(folder / "home", config, policies, keep_host_header=True) as serving:
            yield Office(serving, provider, http, {})


@pytest_asyncio.fixture(loop_scope="module")
async def office(opened: Office, monkeypatch: pytest.MonkeyPatch) -> Office:
    """The same, with nothing left of the test before."""
    monkeypatch.delenv("MISTRAL_API_KEY", raising=False)
    provider, url = opened.provider, opened.provider.url
    opened.began = datetime.now(UTC)
    provider.seen.clear()
    keepers = opened.keepers = {
        "groq": Keeper(url, "/groq/openai/v1", "openai", f"g{next(NUMBERS)}x"),
        "openai": Keeper(url, "/o/v1", "openai", f"o{next(NUMBERS)}x"),
        "anthropic": Keeper(f"{url}/a", "/a", "anthropic", f"a{next(NUMBERS)}x"),
        "gemini": Keeper(url, "", "gemini", f"m{next(NUMBERS)}x"),
    }
    provider.rule = lambda seen: media(seen) or next((said for one in keepers.values() if (said := one(seen))), None)
    return opened


# ── Images ───────────────────────────────────────────────────────────────────────────────────────


async def test_an_image(office: Office) -> None:
    made = await office.openai().images.generate(model="draw", prompt="a cat", size="1024x1024")
    assert made.data is not None and made.data[0].b64_json == PNG
    assert office.seen.json() == {"model": "gpt-image-1", "prompt": "a cat", "size": "1024x1024"}
    assert office.seen.header("authorization") == "Bearer sk-of-the-gateway"
    (row,) = await office.rows()
    assert (row.kind, row.dialect, row.target, row.model) == ("image", "openai.images", "openai/gpt-image-1", "draw")
    assert (row.input_tokens, row.output_tokens, row.usage_source) == (100, 1000, "provider")
    assert row.cost == 40 * Decimal("5e-6") + 60 * Decimal("10e-6") + 1000 * Decimal("40e-6")
    assert row.first_part_ms > 0


async def test_an_image_without_a_model(office: Office) -> None:
    await office.openai().images.generate(prompt="a cat")
    assert office.seen.json() == {"prompt": "a cat"}
    assert office.seen.path == "/o/v1/images/generations"


async def test_an_image_streamed(office: Office) -> None:
    stream = await office.openai().images.generate(model="gpt-image-1", prompt="a cat", stream=True, partial_images=1)
    assert [part.type async for part in stream] == ["image_generation.partial_image", "image_generation.completed"]
    (row,) = await office.rows()
    assert (row.end, row.stream, row.output_tokens) == ("completed", True, 1000)


async def test_an_image_edited(office: Office) -> None:
    """A form: only the model's name in it changes."""
    made = await office.openai().images.edit(
        model="openai/gpt-image-1", image=[("a.png", b"\x89PNG\r\n--1"), ("b.png", b"\x00model")], prompt="more cat"
    )
    assert made.usage is not None
    body = office.seen.body
    assert b'name="model"\r\n\r\ngpt-image-1\r\n' in body
    assert b"\x89PNG\r\n--1" in body and b"\x00model" in body
    assert int(office.seen.header("content-length")) == len(body)
    (row,) = await office.rows()
    assert (row.kind, row.target, row.output_tokens) == ("image", "openai/gpt-image-1", 1000)


async def test_an_image_edited_as_a_stream(office: Office) -> None:
    stream = await office.openai().images.edit(model="draw", image=b"PNG", prompt="more cat", stream=True)
    assert [part.type async for part in stream] == ["image_edit.partial_image", "image_edit.completed"]


async def test_an_image_varied(office: Office) -> None:
    made = await office.openai().images.create_variation(image=b"PNG", model="openai/dall-e-2")
    assert made.data
    assert b"\r\n\r\ndall-e-2\r\n" in office.seen.body


async def test_an_image_of_vertex(office: Office) -> None:
    made = await office.vertex().aio.models.generate_images(model="imagen-fast", prompt="a cat")
    assert made.generated_images and made.generated_images[0].image
    assert office.seen.path == "/v1/projects/p/locations/l/publishers/google/models/imagen-4.0-fast:predict"
    (row,) = await office.rows()
    assert (row.kind, row.dialect, row.cost, row.model) == ("image", "gemini.images", None, "imagen-fast")


async def test_an_image_of_gemini(office: Office) -> None:
    url = f"{office.serving.gateway}/v1beta/models/imagen-4.0-generate-001:predict"
    made = await office.http.post(url, json={"instances": [{"prompt": "a cat"}]})
    assert made.json()["predictions"][0]["bytesBase64Encoded"] == PNG
    assert office.seen.path == "/v1beta/models/imagen-4.0-generate-001:predict"


async def test_an_image_of_gemini_asked_by_openais_client(office: Office) -> None:
    await office.openai().images.generate(model="imagen-4.0-generate-001", prompt="a cat")
    assert office.seen.path == "/v1beta/openai/images/generations"
    assert office.seen.header("authorization").startswith("Bearer ") and not office.seen.header("x-goog-api-key")


# ── Sound ────────────────────────────────────────────────────────────────────────────────────────


async def test_a_transcript_of_another_provider(office: Office) -> None:
    """The name in the form is the provider's own, and every other byte is as it came."""
    said = await office.openai().audio.transcriptions.create(
        model="groq/whisper-large-v3",
        file=("a.wav", SOUND),
        extra_headers={"content-type": "multipart/form-data; boundary=B"},
    )
    assert said.text == "hello there"
    assert office.seen.path == "/groq/openai/v1/audio/transcriptions"
    assert b'name="model"\r\n\r\nwhisper-large-v3\r\n' in office.seen.body
    assert SOUND in office.seen.body
    (row,) = await office.rows()
    assert (row.kind, row.target, row.facts["audio_seconds"]) == ("transcript", "groq/whisper-large-v3", "90")
    assert row.cost == 90 * Decimal("0.111") / 3600


async def test_a_cost_in_the_header_is_short(office: Office) -> None:
    asking = office.openai().audio.transcriptions.with_raw_response
    said = await asking.create(model="groq/whisper-large-v3", file=("a.wav", SOUND))
    assert said.headers["x-shin-cost"] == "0.002775"


async def test_a_transcript_by_an_alias(office: Office) -> None:
    await office.openai().audio.transcriptions.create(model="listen", file=("a.wav", SOUND))
    assert b"\r\n\r\nwhisper-large-v3\r\n" in office.seen.body


async def test_a_transcript(office: Office) -> None:
    said = await office.openai().audio.transcriptions.create(model="gpt-4o-transcribe", file=("a.wav", SOUND))
    assert said.usage is not None and said.usage.type == "tokens"
    (row,) = await office.rows()
    assert row.cost == 10 * Decimal("2.5e-6") + 90 * Decimal("6e-6") + 20 * Decimal("10e-6")


async def test_a_transcript_streamed(office: Office) -> None:
    stream = await office.openai().audio.transcriptions.create(
        model="openai/gpt-4o-transcribe", file=("a.wav", SOUND), stream=True
    )
    texts = [part.delta async for part in stream if part.type == "transcript.text.delta"]
    assert "".join(texts) == "hello there"
    (row,) = await office.rows()
    assert (row.stream, row.end, row.output_tokens) == (True, "completed", 20)


async def test_a_translation(office: Office) -> None:
    said = await office.openai().audio.translations.create(model="groq/whisper-large-v3", file=("a.wav", SOUND))
    assert said.text == "hello there"
    assert office.seen.path == "/groq/openai/v1/audio/translations"


async def test_a_large_recording(office: Office) -> None:
    large = bytes(range(256)) * 4 * 25_000
    said = await office.openai().audio.transcriptions.create(model="groq/whisper-large-v3", file=("a.wav", large))
    assert said.text == "hello there"
    assert large in office.seen.body
    (row,) = await office.rows()
    assert row.call_bytes > 25_000_000


async def test_speech(office: Office) -> None:
    said = await office.openai().audio.speech.create(model="openai/tts-1", voice="alloy", input="hello")
    assert said.content == MP3
    assert office.seen.json()["model"] == "tts-1"
    (row,) = await office.rows()
    assert (row.kind, row.cost, row.usage_source, row.reply_bytes) == ("speech", None, "", len(MP3))


async def test_speech_is_given_on_as_it_comes(office: Office) -> None:
    gate = asyncio.Semaphore(0)
    sound = Answer(body=MP3, body_type="audio/mpeg", framing="chunked", gate=gate)
    office.provider.rule = lambda seen: sound
    create = office.openai().audio.speech.with_streaming_response.create(model="tts-1", voice="alloy", input="hello")
    async with asyncio.timeout(20), create as said:
        assert said.headers["content-type"] == "audio/mpeg"
        gate.release()
        assert await said.read() == MP3


async def test_speech_as_events(office: Office) -> None:
    create = office.openai().audio.speech.with_streaming_response.create(
        model="gpt-4o-mini-tts", voice="alloy", input="hello", stream_format="sse"
    )
    async with create as said:
        lines = [line async for line in said.iter_lines() if line.startswith("data: ")]
    assert json.loads(lines[-1][6:])["type"] == "speech.audio.done"
    (row,) = await office.rows()
    assert (row.stream, row.output_tokens) == (True, 50)
    assert row.cost is not None


# ── Moderation ───────────────────────────────────────────────────────────────────────────────────


async def test_moderation(office: Office) -> None:
    client = office.openai()
    said = await client.moderations.create(input="hello")
    assert not said.results[0].flagged
    assert office.seen.json() == {"input": "hello"}
    named = await client.moderations.create(input="hello", model="openai/omni-moderation-latest")
    assert office.seen.json()["model"] == "omni-moderation-latest"
    assert named.model == "openai/omni-moderation-latest"


# ── What goes wrong ──────────────────────────────────────────────────────────────────────────────


async def test_errors_in_openais_words(office: Office) -> None:
    client = office.openai()
    with pytest.raises(openai.NotFoundError) as unknown:
        await client.images.generate(model="nobody-1", prompt="a cat")
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as keyless:
        await client.audio.transcriptions.create(model="mistral/voxtral-mini", file=("a.wav", SOUND))
    assert keyless.value.code == "no_credential"
    with pytest.raises(openai.InternalServerError) as unable:
        await client.audio.speech.create(model="claude-sonnet-4-5", voice="alloy", input="hello")
    assert (unable.value.status_code, unable.value.code) == (501, "unsupported")
    with pytest.raises(openai.BadRequestError) as nameless:
        await client.audio.speech.create(model="", voice="alloy", input="hello")
    assert nameless.value.param == "model"
    with pytest.raises(openai.InternalServerError) as files:
        await client.files.list(extra_headers={"x-shin-provider": "anthropic"})
    assert files.value.code == "unsupported"
    with pytest.raises(openai.BadRequestError) as nobody:
        await client.files.list(extra_headers={"x-shin-provider": "nobody"})
    assert nobody.value.param == "x-shin-provider"
    assert not office.provider.seen


async def test_errors_in_the_words_of_others(office: Office) -> None:
    with pytest.raises(anthropic.NotFoundError) as unknown:
        await office.anthropic().messages.batches.create(requests=[_entry("nobody-1")])
    assert unknown.value.body["error"]["type"] == "not_found_error"  # type: ignore[index]
    with pytest.raises(genai_errors.ClientError) as gone:
        await office.genai().aio.batches.create(model="nobody-1", src=[{"contents": [{"parts": [{"text": "a"}]}]}])
    assert (gone.value.code, gone.value.status) == (404, "NOT_FOUND")
    with pytest.raises(genai_errors.ServerError) as unable:
        await office.genai().aio.batches.create(model="gpt-4o", src=[{"contents": [{"parts": [{"text": "a"}]}]}])
    assert unable.value.status == "UNIMPLEMENTED"


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"--B\r\nno form", "multipart/form-data; boundary=B"),
        (b"", "multipart/form-data"),
        (b"{}", "multipart/form-data; boundary=B"),
        (b"[1]", "application/json"),
        (b'{"model": 1}', "application/json"),
        (
            b'--B\r\ncontent-disposition: form-data; name="model"\r\n\r\na\r\n' * 2 + b"--B--",
            "multipart/form-data; boundary=B",
        ),
    ],
)
async def test_calls_that_are_none(office: Office, body: bytes, content_type: str) -> None:
    url = f"{office.serving.gateway}/v1/audio/transcriptions"
    said = await office.http.post(url, content=body, headers={"content-type": content_type})
    assert said.status_code == 400
    assert said.json()["error"]["type"] == "invalid_request_error"
    assert not office.provider.seen


async def test_an_image_is_not_made_twice(office: Office) -> None:
    office.provider.rule = lambda seen: UNAVAILABLE
    with pytest.raises(openai.InternalServerError):
        await office.openai().images.generate(model="gpt-image-1", prompt="a cat")
    assert len(office.provider.seen) == 1


# ── Files and batches ────────────────────────────────────────────────────────────────────────────


async def test_files_of_openai(office: Office) -> None:
    client = office.openai()
    made = await client.files.create(file=("a.jsonl", b"{}\n"), purpose="batch")
    assert office.seen.path == "/o/v1/files"
    assert (await client.files.retrieve(made.id)).id == made.id
    assert [one.id async for one in client.files.list()] == [made.id]
    assert (await client.files.content(made.id)).content.startswith(b'{"custom_id"')
    assert (await client.files.delete(made.id)).deleted
    with pytest.raises(openai.NotFoundError):
        await client.files.retrieve(made.id)
    rows = await office.rows(6)
    assert {(row.kind, row.dialect, row.provider) for row in rows} == {("file", "openai.files", "openai")}


async def test_batches_go_where_their_file_is(office: Office) -> None:
    client = office.openai()
    there = {"x-shin-provider": "groq"}
    file = await client.files.create(file=("a.jsonl", b"{}\n"), purpose="batch", extra_headers=there)
    assert office.seen.path == "/groq/openai/v1/files"
    assert not office.seen.header("x-shin-provider")
    batch = await client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    assert office.seen.path == "/groq/openai/v1/batches"
    again = await client.batches.retrieve(batch.id)
    assert office.seen.path == f"/groq/openai/v1/batches/{batch.id}"
    assert again.output_file_id
    await client.files.content(again.output_file_id)
    assert office.seen.path == f"/groq/openai/v1/files/{again.output_file_id}/content"
    await client.batches.cancel(batch.id)
    assert [one.id async for one in client.batches.list(extra_headers=there)] == [batch.id]
    assert [one.id async for one in client.batches.list()] == []


async def test_a_provider_in_the_path(office: Office) -> None:
    client = office.openai().with_options(base_url=f"{office.serving.gateway}/groq/v1")
    file = await client.files.create(file=("a.jsonl", b"{}\n"), purpose="batch")
    assert office.seen.path == "/groq/openai/v1/files"
    assert (await office.openai().files.retrieve(file.id)).id == file.id


async def test_an_upload_in_parts(office: Office) -> None:
    client = office.openai()
    upload = await client.uploads.create(
        bytes=3, filename="a", mime_type="text/plain", purpose="batch", extra_headers={"x-shin-provider": "groq"}
    )
    part = await client.uploads.parts.create(upload.id, data=b"{}\n")
    done = await client.uploads.complete(upload.id, part_ids=[part.id])
    assert office.seen.path == f"/groq/openai/v1/uploads/{upload.id}/complete"
    assert done.file is not None
    await client.files.retrieve(done.file.id)
    assert office.seen.path == f"/groq/openai/v1/files/{done.file.id}"


async def test_nobody_sees_what_others_made(office: Office) -> None:
    anna, ben = office.openai("sk-anna"), office.openai("sk-ben")
    file = await anna.files.create(file=("a.jsonl", b"{}\n"), purpose="batch")
    batch = await anna.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    own = await ben.files.create(file=("b.jsonl", b"{}\n"), purpose="batch")
    office.keepers["openai"].kept["file-old"] = {**office.keepers["openai"].kept[own.id], "id": "file-old"}
    count = len(office.provider.seen)
    direct = ben.with_options(base_url=f"{office.serving.gateway}/openai/v1")
    bare = ben.with_options(base_url=f"{office.serving.gateway}/openai")
    for client in (ben, direct, bare):
        for attempt in (client.files.retrieve, client.files.content, client.files.delete):
            with pytest.raises(openai.NotFoundError):
                await attempt(file.id)
    with pytest.raises(openai.NotFoundError):
        await ben.batches.retrieve(batch.id)
    with pytest.raises(openai.NotFoundError):
        await ben.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    assert len(office.provider.seen) == count, "the provider, which would have told, was not asked"
    assert batch.output_file_id
    with pytest.raises(openai.NotFoundError):
        await ben.files.retrieve(batch.output_file_id)
    assert [one.id async for one in ben.files.list()] == [own.id, "file-old"]
    assert [one.id async for one in ben.batches.list()] == []
    assert [one.id async for one in anna.files.list()] == [file.id, batch.output_file_id, "file-old"]
    office.keepers["openai"].page = 1
    assert [one.id async for one in ben.files.list(limit=1)] == [own.id, "file-old"]


async def test_files_of_anthropic(office: Office) -> None:
    client = office.anthropic()
    made = await client.beta.files.upload(file=("a.txt", b"hello", "text/plain"))
    assert office.seen.path == "/a/v1/files"
    assert office.seen.header("x-api-key") == "sk-of-the-gateway"
    assert (await client.beta.files.retrieve_metadata(made.id)).id == made.id
    assert [one.id async for one in client.beta.files.list()] == [made.id]
    assert await (await client.beta.files.download(made.id)).read()
    with pytest.raises(anthropic.NotFoundError):
        await office.anthropic("sk-ben").beta.files.retrieve_metadata(made.id)
    await client.beta.files.delete(made.id)
    (*_, row) = await office.rows(6)
    assert (row.kind, row.dialect, row.provider) == ("file", "anthropic.files", "anthropic")


async def test_batches_of_anthropic(office: Office) -> None:
    client = office.anthropic()
    made = await client.messages.batches.create(
        requests=[_entry("anthropic/claude-sonnet-4-5"), _entry("claude-opus-4-1")]
    )
    sent = office.seen.json()["requests"]
    assert [one["params"]["model"] for one in sent] == ["claude-sonnet-4-5", "claude-opus-4-1"]
    assert (await client.messages.batches.retrieve(made.id)).id == made.id
    lines = [line async for line in await client.messages.batches.results(made.id)]
    assert lines[0].custom_id == "one"
    assert office.seen.path == f"/a/v1/messages/batches/{made.id}/results"
    assert [one.id async for one in client.messages.batches.list()] == [made.id]
    await client.messages.batches.cancel(made.id)
    with pytest.raises(anthropic.NotFoundError):
        await office.anthropic("sk-ben").messages.batches.cancel(made.id)
    assert [one.id async for one in office.anthropic("sk-ben").messages.batches.list()] == []
    await client.messages.batches.delete(made.id)
    with pytest.raises(anthropic.BadRequestError):
        await client.messages.batches.create(requests=[_entry("claude-opus-4-1"), _entry("gpt-4o")])


async def test_files_of_gemini(office: Office) -> None:
    client = office.genai().aio
    made = await client.files.upload(file=io.BytesIO(b"hello"), config={"mime_type": "text/plain"})
    assert made.name is not None
    assert office.seen.path == "/upload/v1/files"
    assert office.seen.body == b"hello"
    assert (await client.files.get(name=made.name)).name == made.name
    assert [one.name async for one in await client.files.list()] == [made.name]
    with pytest.raises(genai_errors.ClientError) as others:
        await office.genai("sk-ben").aio.files.get(name=made.name)
    assert (others.value.code, others.value.status) == (404, "NOT_FOUND")
    assert [one.name async for one in await office.genai("sk-ben").aio.files.list()] == []
    await client.files.delete(name=made.name)
    (*_, row) = await office.rows(7)
    assert (row.kind, row.dialect, row.provider) == ("file", "gemini.files", "gemini")


async def test_an_upload_to_gemini_goes_on_through_the_gateway(office: Office) -> None:
    headers = {"x-goog-upload-command": "start", "x-goog-upload-protocol": "resumable", "x-goog-api-key": "sk-anna"}
    begun = await office.http.post(f"{office.serving.gateway}/upload/v1/files", headers=headers, json={})
    url = begun.headers["x-goog-upload-url"]
    start = f"{office.serving.gateway}/gemini/upload/v1/files?upload_id=u1&upload_protocol=resumable&shin_ticket="
    assert url.startswith(start)
    done = await office.http.post(url, headers={"x-goog-upload-command": "upload, finalize"}, content=b"hello")
    assert office.seen.target == "/upload/v1/files?upload_id=u1&upload_protocol=resumable"
    name = done.json()["file"]["name"]
    others = await office.http.get(f"{office.serving.gateway}/v1/{name}", headers={"x-goog-api-key": "sk-ben"})
    assert others.status_code == 404


async def test_batches_of_gemini(office: Office) -> None:
    client = office.genai().aio
    made = await client.batches.create(
        model="gemini-2.5-flash", src=[{"contents": [{"parts": [{"text": "hello"}], "role": "user"}]}]
    )
    assert made.name is not None
    assert office.seen.path == "/v1/models/gemini-2.5-flash:batchGenerateContent"
    assert (await client.batches.get(name=made.name)).name == made.name
    assert [one.name async for one in await client.batches.list()] == [made.name]
    with pytest.raises(genai_errors.ClientError):
        await office.genai("sk-ben").aio.batches.get(name=made.name)
    await client.batches.cancel(name=made.name)
    await client.batches.delete(name=made.name)
    (row, *_) = await office.rows(6)
    assert (row.kind, row.dialect, row.target) == ("batch", "gemini.batches", "gemini/gemini-2.5-flash")


def _entry(model: str) -> Any:
    params = {"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}
    return {"custom_id": f"of-{model.replace('/', '-')}", "params": params}
