"""Provider rows and path classes."""

# ruff: noqa: E501 - tables read best with one case a line

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import shin_gateway.providers
from shin_gateway.config import Config
from shin_gateway.policy.paths import PathRow, PathTable
from shin_gateway.providers import ProviderRow, Providers, classify
from shin_gateway.secret import SecretRef


def rows(**written: dict[str, object]) -> Providers:
    return Providers.load(Config.model_validate({"providers": written}))


def row_of(host: str) -> ProviderRow:
    return Providers.load().serving(host, 443, "generic")


# What real agents and SDKs were seen to send to the hosts of models: the calls, and everything else.

CALLS = [
    ("api.openai.com", "POST", "/v1/chat/completions", "chat", "openai.chat"),
    ("api.openai.com", "POST", "/v1/completions", "complete", "openai.completions"),
    ("api.openai.com", "GET", "/v1/responses/resp_123", "stored", "openai.responses"),
    ("api.openai.com", "POST", "/v1/responses/resp_123/cancel", "stored", "openai.responses"),
    ("api.openai.com", "DELETE", "/v1/conversations/conv_1/items/msg_1", "stored", "openai.responses"),
    ("api.openai.com", "POST", "/v1/responses", "respond", "openai.responses"),
    ("api.openai.com", "WEBSOCKET", "/v1/responses", "respond", "openai.responses"),
    ("api.openai.com", "WEBSOCKET", "/v1/realtime?model=gpt-realtime", "realtime", "openai.realtime"),
    ("a.openai.azure.com", "WEBSOCKET", "/openai/realtime?deployment=voice", "realtime", "openai.realtime"),
    ("generativelanguage.googleapis.com", "WEBSOCKET",
     "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent", "realtime", "gemini.live"),
    ("aiplatform.googleapis.com", "WEBSOCKET",
     "/ws/google.cloud.aiplatform.v1beta1.LlmBidiService/BidiGenerateContent", "realtime", "gemini.live"),
    ("api.openai.com", "POST", "/v1/responses/compact", "respond", "openai.responses"),
    ("api.openai.com", "POST", "/v1/responses/input_tokens", "count", "openai.responses"),
    ("api.openai.com", "POST", "/v1/embeddings", "embed", "openai.embeddings"),
    ("api.openai.com", "POST", "/v1/images/generations", "image", "openai.images"),
    ("api.openai.com", "POST", "/v1/images/edits", "image", "openai.images"),
    ("a.openai.azure.com", "POST", "/openai/deployments/draw/images/generations?api-version=1", "image", "openai.images"),
    ("api.x.ai", "POST", "/v1/images/generations", "image", "openai.images"),
    ("aiplatform.googleapis.com", "POST", "/v1/projects/p/locations/l/publishers/google/models/imagen-4:predict", "image", "gemini.images"),
    ("aiplatform.googleapis.com", "POST", "/v1/projects/p/locations/l/publishers/google/models/text-embedding-005:predict", "embed", "gemini.generate"),
    ("llm.example", "GET", "/v1/models/gpt-4o", "models", "openai.chat"),
    ("llm.example", "GET", "/v1beta/models/lab/gpt-4o", "models", "gemini.generate"),
    ("generativelanguage.googleapis.com", "POST", "/v1beta/models/lab/llama3:8b:generateContent", "chat", "gemini.generate"),
    ("api.openai.com", "POST", "/v1/audio/speech", "speech", "openai.speech"),
    ("api.groq.com", "POST", "/openai/v1/audio/transcriptions", "transcript", "openai.transcriptions"),
    ("a.openai.azure.com", "POST", "/openai/deployments/w/audio/translations", "transcript", "openai.transcriptions"),
    ("api.mistral.ai", "POST", "/v1/moderations", "moderation", "openai.moderations"),
    ("api.openai.com", "POST", "/v1/files", "file", "openai.files"),
    ("api.openai.com", "GET", "/v1/files/file-1/content", "file", "openai.files"),
    ("api.openai.com", "DELETE", "/v1/files/file-1", "file", "openai.files"),
    ("api.openai.com", "POST", "/v1/uploads/upload_1/parts", "file", "openai.files"),
    ("api.groq.com", "POST", "/openai/v1/batches/batch_1/cancel", "batch", "openai.batches"),
    ("api.anthropic.com", "POST", "/v1/files", "file", "anthropic.files"),
    ("api.anthropic.com", "POST", "/v1/messages/batches", "batch", "anthropic.batches"),
    ("api.anthropic.com", "GET", "/v1/messages/batches/msgbatch_1/results", "batch", "anthropic.batches"),
    ("generativelanguage.googleapis.com", "POST", "/upload/v1beta/files", "file", "gemini.files"),
    ("generativelanguage.googleapis.com", "POST", "/upload/v1/files", "file", "gemini.files"),
    ("generativelanguage.googleapis.com", "GET", "/v1/files/abc:download?alt=media", "file", "gemini.files"),
    ("generativelanguage.googleapis.com", "POST", "/v1beta/models/M:batchGenerateContent", "batch", "gemini.batches"),
    ("generativelanguage.googleapis.com", "POST", "/v1beta/batches/b:cancel", "batch", "gemini.batches"),
    ("api.openai.com", "GET", "/v1/models?limit=5", "models", "openai.chat"),
    ("chatgpt.com", "POST", "/backend-api/codex/responses", "respond", "openai.responses"),
    ("chatgpt.com", "WEBSOCKET", "/backend-api/codex/responses", "respond", "openai.responses"),
    ("api.anthropic.com", "POST", "/v1/messages?beta=true", "chat", "anthropic.messages"),
    ("api.anthropic.com", "POST", "/v1/messages/count_tokens?beta=true", "count", "anthropic.messages"),
    ("api.anthropic.com", "GET", "/v1/models", "models", "anthropic.messages"),
    ("api.individual.githubcopilot.com", "POST", "/v1/messages", "chat", "anthropic.messages"),
    ("api.individual.githubcopilot.com", "POST", "/chat/completions", "chat", "openai.chat"),
    ("api.individual.githubcopilot.com", "POST", "/responses", "respond", "openai.responses"),
    ("api.individual.githubcopilot.com", "WEBSOCKET", "/responses", "respond", "openai.responses"),
    ("api.individual.githubcopilot.com", "GET", "/models", "models", "openai.chat"),
    ("generativelanguage.googleapis.com", "POST", "/v1beta/models/gemini-2.5-pro:generateContent", "chat", "gemini.generate"),
    ("generativelanguage.googleapis.com", "POST", "/v1beta/models/M:streamGenerateContent?alt=sse", "chat", "gemini.generate"),
    ("generativelanguage.googleapis.com", "POST", "/v1/models/M:generateContent", "chat", "gemini.generate"),
    ("generativelanguage.googleapis.com", "POST", "/v1beta/tunedModels/M:generateContent", "chat", "gemini.generate"),
    ("generativelanguage.googleapis.com", "POST", "/v1beta/models/M%3AgenerateContent", "chat", "gemini.generate"),
    ("generativelanguage.googleapis.com", "POST", "/v1beta/models/M:countTokens", "count", "gemini.generate"),
    ("generativelanguage.googleapis.com", "POST", "/v1beta/models/M:embedContent", "embed", "gemini.generate"),
    ("generativelanguage.googleapis.com", "POST", "/v1beta/models/M:batchEmbedContents", "embed", "gemini.generate"),
    ("generativelanguage.googleapis.com", "POST", "/v1beta/openai/chat/completions", "chat", "openai.chat"),
    ("generativelanguage.googleapis.com", "POST", "/v1beta/openai/embeddings", "embed", "openai.embeddings"),
    ("generativelanguage.googleapis.com", "GET", "/v1beta/models?pageSize=50", "models", "gemini.generate"),
    ("generativelanguage.googleapis.com", "GET", "/v1/models", "models", "gemini.generate"),
    ("cloudcode-pa.googleapis.com", "POST", "/v1internal:generateContent", "chat", "gemini.generate"),
    ("cloudcode-pa.googleapis.com", "POST", "/v1internal:streamGenerateContent?alt=sse", "chat", "gemini.generate"),
    ("cloudcode-pa.googleapis.com", "POST", "/v1internal:countTokens", "count", "gemini.generate"),
    ("aiplatform.googleapis.com", "POST", "/v1/projects/p/locations/us/publishers/google/models/M:streamGenerateContent", "chat", "gemini.generate"),
    ("aiplatform.googleapis.com", "POST", "/v1beta1/projects/p/locations/us/endpoints/77:generateContent", "chat", "gemini.generate"),
    ("aiplatform.googleapis.com", "POST", "/v1/projects/p/locations/us/publishers/anthropic/models/claude-x@1:rawPredict", "chat", "anthropic.messages"),
    ("aiplatform.googleapis.com", "POST", "/v1/projects/p/locations/us/publishers/anthropic/models/claude-x@1:streamRawPredict", "chat", "anthropic.messages"),
    ("aiplatform.googleapis.com", "POST", "/v1/projects/p/locations/us/publishers/anthropic/models/count-tokens:rawPredict", "count", "anthropic.messages"),
    ("aiplatform.googleapis.com", "POST", "/v1/projects/p/locations/us/endpoints/openapi/chat/completions", "chat", "openai.chat"),
    ("a.openai.azure.com", "POST", "/openai/deployments/gpt4/chat/completions?api-version=2026-01-01", "chat", "openai.chat"),
    ("a.openai.azure.com", "POST", "/openai/deployments/gpt4/completions", "complete", "openai.completions"),
    ("a.openai.azure.com", "POST", "/openai/deployments/e/embeddings", "embed", "openai.embeddings"),
    ("a.openai.azure.com", "POST", "/openai/v1/responses", "respond", "openai.responses"),
    ("a.openai.azure.com", "POST", "/openai/responses?api-version=2026-01-01", "respond", "openai.responses"),
    ("a.openai.azure.com", "POST", "/OpenAI/Deployments/gpt4/Chat/Completions", "chat", "openai.chat"),
    ("a.services.ai.azure.com", "POST", "/anthropic/v1/messages", "chat", "anthropic.messages"),
    ("a.services.ai.azure.com", "POST", "/models/chat/completions", "chat", "openai.chat"),
    ("openrouter.ai", "POST", "/api/v1/chat/completions", "chat", "openai.chat"),
    ("openrouter.ai", "POST", "/api/v1/messages", "chat", "anthropic.messages"),
    ("openrouter.ai", "GET", "/api/v1/models", "models", "openai.chat"),
    ("api.groq.com", "POST", "/openai/v1/chat/completions", "chat", "openai.chat"),
    ("api.groq.com", "GET", "/openai/v1/models", "models", "openai.chat"),
    ("api.mistral.ai", "POST", "/v1/chat/completions", "chat", "openai.chat"),
    ("api.deepseek.com", "POST", "/chat/completions", "chat", "openai.chat"),
    ("api.deepseek.com", "POST", "/beta/completions", "complete", "openai.completions"),
    ("api.deepseek.com", "POST", "/anthropic/v1/messages", "chat", "anthropic.messages"),
    ("api.x.ai", "POST", "/v1/responses", "respond", "openai.responses"),
    ("localhost", "POST", "/v1/chat/completions", "chat", "openai.chat"),
    ("llm.example", "POST", "/some/where/v1/chat/completions/", "chat", "openai.chat"),
]  # fmt: skip

UNTOUCHED = [
    ("api.anthropic.com", "POST", "/api/event_logging/v2/batch"),
    ("api.anthropic.com", "GET", "/api/claude_code/organizations/metrics_enabled"),
    ("api.anthropic.com", "POST", "/api/eval/sdk-zAZezfDKGoZuXXKe"),
    ("api.anthropic.com", "POST", "/api/eval/v1/messages"),
    ("api.anthropic.com", "GET", "/api/claude_code/settings"),
    ("api.anthropic.com", "GET", "/api/claude_code/policy_limits"),
    ("api.anthropic.com", "GET", "/api/claude_cli/bootstrap"),
    ("api.anthropic.com", "GET", "/api/claude_code_penguin_mode"),
    ("api.anthropic.com", "GET", "/api/directory/server-urls"),
    ("api.anthropic.com", "GET", "/api/hello"),
    ("api.anthropic.com", "HEAD", "/"),
    ("api.anthropic.com", "GET", "/v1/messages"),
    ("api.anthropic.com", "GET", "/v1/models/claude-x"),
    ("chatgpt.com", "GET", "/"),
    ("chatgpt.com", "POST", "/backend-api/codex/analytics-events/events"),
    ("chatgpt.com", "GET", "/backend-api/codex/models"),
    ("chatgpt.com", "GET", "/backend-api/wham/accounts/check"),
    ("chatgpt.com", "GET", "/backend-api/wham/usage"),
    ("chatgpt.com", "GET", "/backend-api/ps/plugins/list"),
    ("chatgpt.com", "POST", "/backend-api/plugins/export/curated"),
    ("chatgpt.com", "POST", "/backend-api/ps/mcp"),
    ("chatgpt.com", "POST", "/backend-api/conversation"),
    ("chatgpt.com", "POST", "/backend-api/surveys/v1/responses"),
    ("chatgpt.com", "WEBSOCKET", "/backend-api/ws"),
    ("ab.chatgpt.com", "POST", "/otlp/v1/metrics"),
    ("play.googleapis.com", "POST", "/log"),
    ("oauth2.googleapis.com", "POST", "/token"),
    ("www.googleapis.com", "GET", "/oauth2/v2/userinfo"),
    ("cloudcode-pa.googleapis.com", "POST", "/v1internal:loadCodeAssist"),
    ("cloudcode-pa.googleapis.com", "POST", "/v1internal:retrieveUserQuota"),
    ("cloudcode-pa.googleapis.com", "POST", "/v1internal:listExperiments"),
    ("cloudcode-pa.googleapis.com", "POST", "/v1internal:onboardUser"),
    ("generativelanguage.googleapis.com", "GET", "/v1beta/models/gemini-2.5-pro"),
    ("generativelanguage.googleapis.com", "POST", "/v1beta/cachedContents"),
    ("models.opencode.ai", "GET", "/api.json"),
    ("telemetry.individual.githubcopilot.com", "POST", "/telemetry"),
    ("api.github.com", "GET", "/copilot_internal/user"),
    ("api.github.com", "GET", "/copilot_internal/managed_settings"),
    ("api.github.com", "GET", "/copilot_internal/team_customizations"),
    ("api.github.com", "GET", "/repos/github/copilot-cli/releases"),
    ("api.github.com", "GET", "/repos/openai/plugins"),
    ("github.com", "POST", "/login/device/code"),
    ("api.individual.githubcopilot.com", "POST", "/mcp/readonly"),
    ("api.individual.githubcopilot.com", "GET", "/mcp/readonly"),
    ("api.individual.githubcopilot.com", "POST", "/models/session"),
    ("raw.githubusercontent.com", "GET", "/BerriAI/litellm/main/prices.json"),
    ("auth.openai.com", "POST", "/oauth/token"),
    ("api.openai.com", "GET", "/v1/responses"),
    ("api.openai.com", "GET", "/v1/chat/completions/chatcmpl-1"),
    ("api.openai.com", "GET", "/v1/chat/completions"),
    ("api.openai.com", "WEBSOCKET", "/v1/realtime/calls"),
    ("api.openai.com", "OPTIONS", "/v1/chat/completions"),
    ("openrouter.ai", "GET", "/api/frontend/models"),
    ("openrouter.ai", "GET", "/models"),
    ("api.openai.com", "POST", "/v1/vector_stores"),
    ("api.openai.com", "POST", "/v1/fine_tuning/jobs"),
    ("openrouter.ai", "POST", "/api/v1/auth/keys"),
    ("localhost", "POST", "/api/chat"),
    ("a.cognitiveservices.azure.com", "POST", "/speechtotext/v3.2/transcriptions"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("host", "method", "path", "kind", "dialect"), CALLS, ids=[f"{c[1]} {c[0]}{c[2]}" for c in CALLS]
)
def test_calls(host: str, method: str, path: str, kind: str, dialect: str) -> None:
    found = classify(method, path, row_of(host))
    assert found is not None
    assert (found.kind, found.dialect) == (kind, dialect)


@pytest.mark.parametrize(("host", "method", "path"), UNTOUCHED, ids=[f"{c[1]} {c[0]}{c[2]}" for c in UNTOUCHED])
def test_everything_else_passes_untouched(host: str, method: str, path: str) -> None:
    assert classify(method, path, row_of(host)) is None


@pytest.mark.parametrize(
    ("path", "model", "stream"),
    [
        ("/v1beta/models/gemini-2.5-pro:generateContent", "gemini-2.5-pro", False),
        ("/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse", "gemini-2.5-pro", True),
        ("/v1/projects/p/locations/l/publishers/anthropic/models/claude-x@1:streamRawPredict", "claude-x@1", True),
        ("/openai/deployments/my-gpt/chat/completions", "my-gpt", False),
        ("/v1/chat/completions", None, False),
    ],
)
def test_what_a_path_says_about_the_call(path: str, model: str | None, stream: bool) -> None:
    found = classify("POST", path, Providers.load().generic)
    assert (found.model, found.stream) == (model, stream)


def test_a_policy_goes_first_and_may_take_a_path_out() -> None:
    own = PathTable(
        [
            PathRow(match="/v1/chat/completions", kind="other"),
            PathRow(match="/llm", kind="chat", dialect="openai.chat"),
        ]
    )
    row = Providers.load().generic
    assert classify("POST", "/v1/chat/completions", row, own) is None
    assert classify("POST", "/llm", row, own).kind == "chat"
    assert classify("POST", "/v1/embeddings", row, own).kind == "embed"


@given(st.text(max_size=200))
def test_any_path_of_any_row(path: str) -> None:
    for row in PROVIDERS:
        classify("POST", path, row)


PROVIDERS = Providers.load()


# Rows


def test_the_rows_there_are() -> None:
    assert [row.name for row in Providers.load()] == [
        "openai", "azure_openai", "anthropic", "gemini", "vertex", "openrouter", "mistral", "groq", "deepseek", "xai",
        "github_copilot", "chatgpt", "code_assist", "ollama", "generic",
    ]  # fmt: skip


def test_every_path_and_price_of_a_row_is_known() -> None:
    from genai_prices.data import providers as priced

    known = {one.id for one in priced}
    for row in Providers.load():
        assert row.prices in known | {""}, row.name
        assert all(path.startswith("/") for path in row.dialects.values())


def test_every_dialect_is_implemented() -> None:
    dialects = pytest.importorskip("shin_gateway.dialects")
    named = {path.dialect for row in Providers.load() for path in row.paths.rows if path.dialect}
    named |= {dialect for row in Providers.load() for dialect in row.dialects}
    for name in named:
        assert dialects.get(name).name == name


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("gpt-4o", "openai"), ("o1", "openai"), ("o3-mini", "openai"), ("o4-mini", "openai"), ("chatgpt-4o-latest", "openai"),
        ("text-embedding-3-small", "openai"), ("codex-mini-latest", "openai"),
        ("claude-sonnet-4-5", "anthropic"), ("gemini-2.5-pro", "gemini"), ("text-embedding-004", "gemini"),
        ("mistral-large-latest", "mistral"), ("codestral-2508", "mistral"), ("deepseek-chat", "deepseek"),
        ("grok-4", "xai"), ("llama-3", None), ("", None), ("GPT-4o", None),
    ],
)  # fmt: skip
def test_a_model_finds_its_provider(model: str, provider: str | None) -> None:
    row = Providers.load().for_model(model)
    assert (row.name if row else None) == provider


def test_like_takes_over_how_and_not_who() -> None:
    providers = rows(lab={"like": "openai", "base_url": "http://127.0.0.1:9001/v1/", "models": ["lab-*"]})
    lab = providers.get("lab")
    assert lab.base_url == "http://127.0.0.1:9001/v1"
    assert lab.dialects == providers.get("openai").dialects
    assert (lab.api_key, lab.hosts) == ((), ())
    assert (lab.auth_header, lab.auth_scheme, lab.stream_usage) == ("authorization", "Bearer", "ask")
    assert providers.for_model("lab-7").name == "lab"
    assert providers.for_host("127.0.0.1", 9001).name == "lab"
    assert providers.for_host("127.0.0.1", 9002) is None
    assert providers.for_host("api.openai.com", 443).name == "openai"


def test_quirks_of_a_server() -> None:
    mistral = Providers.load().get("mistral").quirks
    assert mistral.rename == {"max_completion_tokens": "max_tokens", "seed": "random_seed"}
    assert {"logprobs", "user"} <= mistral.drop
    assert (mistral.words["required"], mistral.words["max_temperature"]) == ("any", "1.5")
    providers = rows(
        same={"like": "generic", "base_url": "http://127.0.0.1:9001/v1"},
        own={"like": "generic", "quirks": {"drop": "seed", "words": {"max_stop": 2}}},
    )
    assert providers.get("same").quirks == providers.generic.quirks
    own = providers.get("own").quirks
    assert (own.drop, own.rename, own.words) == (frozenset({"seed"}), {}, {"max_stop": "2"})
    assert providers.get("anthropic").quirks.drop == frozenset()


def test_words_of_quirks_are_ones_that_a_writer_knows() -> None:
    writers = Path(shin_gateway.providers.__file__).parent / "translation"
    known = {
        word
        for name in ("openai_chat/quirks.py", "counting.py", "embeddings/form.py")
        for word in re.findall(r"`([a-z_]+): ", (writers / name).read_text(encoding="utf-8"))
    }
    for row in Providers.load():
        assert row.quirks.words.keys() <= known, row.name


def test_a_second_account_at_one_provider_does_not_take_its_host() -> None:
    providers = rows(team={"like": "openai", "api_key": "env:TEAM_KEY"})
    assert providers.get("team").base_url == "https://api.openai.com/v1"
    assert providers.get("team").api_key == (SecretRef("env:TEAM_KEY"),)
    assert providers.for_host("api.openai.com", 443).name == "openai"


def test_a_row_of_shin_yaml_goes_over_ours_key_by_key() -> None:
    providers = rows(openai={"api_key": ["file:/run/key", "env:OTHER"]}, azure_openai={"models": "gpt-*"})
    assert providers.get("openai").api_key == (SecretRef("file:/run/key"), SecretRef("env:OTHER"))
    assert providers.get("openai").base_url == "https://api.openai.com/v1"
    assert providers.for_model("gpt-4o").name == "azure_openai"
    assert providers.for_model("o3").name == "openai"


def test_a_chain_of_likes() -> None:
    providers = rows(
        a={"like": "b", "models": ["a-*"]},
        b={"like": "anthropic", "base_url": "https://b.example", "hosts": "b.example"},
    )
    assert providers.get("a").base_url == "https://b.example"
    assert providers.get("a").dialects == Providers.load().get("anthropic").dialects
    assert providers.get("a").hosts == ()
    assert providers.for_host("b.example", 443).name == "b"


def test_who_serves_a_host() -> None:
    providers = Providers.load()
    assert providers.serving("us-east5-aiplatform.googleapis.com", 443, "vertex").name == "vertex"
    assert providers.serving("api.openai.com", 443, "vertex").name == "openai"
    assert providers.serving("llm.example", 443, "gone").name == "generic"
