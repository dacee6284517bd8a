"""Where a call goes and with whose key."""

# ruff: noqa: E501 - tables read best with one case a line

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from multidict import CIMultiDict

from shin_gateway.arrivals import at_gateway, at_host
from shin_gateway.call import Call
from shin_gateway.config import Config
from shin_gateway.errors import Invalid, NotFound, Refusal, Unavailable, Unsupported
from shin_gateway.policy import Policy, load_policies
from shin_gateway.policy.paths import PathTable
from shin_gateway.providers import Providers
from shin_gateway.registry import Registry
from shin_gateway.targets import Target, aim, find_target, in_use, led_to, lister, name_of, target_for_origin, target_of

KEYS = {
    "OPENAI_API_KEY": "sk-openai", "ANTHROPIC_API_KEY": "sk-ant", "GOOGLE_API_KEY": "goog", "OPENROUTER_API_KEY": "sk-or",
    "GROQ_API_KEY": "gsk", "DEEPSEEK_API_KEY": "sk-deep", "VERTEX_ACCESS_TOKEN": "ya29", "AZURE_OPENAI_API_KEY": "az",
}  # fmt: skip
NONE = Config()


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GEMINI_API_KEY", "MISTRAL_API_KEY", "XAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)


def target(model: str, dialect: str = "openai.chat", config: Config = NONE, kind: str = "chat") -> Target:
    return find_target(model, dialect, kind, Providers.load(config), config)


def config(**sections: object) -> Config:
    return Config.model_validate(sections)


@pytest.mark.parametrize(
    ("model", "dialect", "path", "name", "url"),
    [
        ("gpt-4o", "openai.chat", "/v1/chat/completions", "openai/gpt-4o", "https://api.openai.com/v1/chat/completions"),
        ("gpt-4o", "openai.responses", "/v1/responses?x=%20", "openai/gpt-4o", "https://api.openai.com/v1/responses?x=%20"),
        ("gpt-4o", "openai.responses", "/v1/responses/compact", "openai/gpt-4o", "https://api.openai.com/v1/responses/compact"),
        ("gpt-4o", "openai.responses", "/v1/responses/input_tokens", "openai/gpt-4o", "https://api.openai.com/v1/responses/input_tokens"),
        ("openai/gpt-4o", "openai.completions", "/v1/completions", "openai/gpt-4o", "https://api.openai.com/v1/completions"),
        ("text-embedding-3-small", "openai.embeddings", "/v1/embeddings", "openai/text-embedding-3-small", "https://api.openai.com/v1/embeddings"),
        ("claude-sonnet-4-5", "anthropic.messages", "/v1/messages?beta=true", "anthropic/claude-sonnet-4-5", "https://api.anthropic.com/v1/messages?beta=true"),
        ("anthropic/claude-sonnet-4-5", "anthropic.messages", "/v1/messages/count_tokens", "anthropic/claude-sonnet-4-5", "https://api.anthropic.com/v1/messages/count_tokens"),
        ("gemini-2.5-pro", "gemini.generate", "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse", "gemini/gemini-2.5-pro", "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse"),
        ("gemini-2.5-pro", "gemini.generate", "/v1/models/gemini-2.5-pro:countTokens", "gemini/gemini-2.5-pro", "https://generativelanguage.googleapis.com/v1/models/gemini-2.5-pro:countTokens"),
        ("openrouter/anthropic/claude-opus-4", "openai.chat", "/v1/chat/completions", "openrouter/anthropic/claude-opus-4", "https://openrouter.ai/api/v1/chat/completions"),
        ("openrouter/anthropic/claude-opus-4", "anthropic.messages", "/v1/messages", "openrouter/anthropic/claude-opus-4", "https://openrouter.ai/api/v1/messages"),
        ("groq/openai/gpt-oss-120b", "openai.chat", "/v1/chat/completions", "groq/openai/gpt-oss-120b", "https://api.groq.com/openai/v1/chat/completions"),
        ("deepseek-chat", "openai.chat", "/v1/chat/completions", "deepseek/deepseek-chat", "https://api.deepseek.com/chat/completions"),
        ("ollama/llama3", "openai.chat", "/v1/chat/completions", "ollama/llama3", "http://127.0.0.1:11434/v1/chat/completions"),
    ],
)  # fmt: skip
def test_the_way_of_a_model(model: str, dialect: str, path: str, name: str, url: str) -> None:
    found = target(model, dialect)
    assert (found.name, found.url(path)) == (name, url)
    assert found.model == name.partition("/")[2]
    assert found.dialect == dialect


def test_vertex_takes_its_base_from_shin_yaml() -> None:
    base = "https://us-east5-aiplatform.googleapis.com/v1/projects/p/locations/us-east5"
    found = target("vertex/gemini-2.5-pro", "gemini.generate", config(providers={"vertex": {"base_url": base}}))
    assert found.url("/v1beta/models/vertex%2Fgemini-2.5-pro:generateContent") == (
        f"{base}/publishers/google/models/gemini-2.5-pro:generateContent"
    )


def test_an_alias() -> None:
    named = config(models={"fast": "openai/gpt-4o-mini", "smart": "claude-opus-4"})
    assert target("fast", config=named).name == "openai/gpt-4o-mini"
    assert target("smart", "anthropic.messages", named).name == "anthropic/claude-opus-4"


def test_a_lab_without_a_key() -> None:
    lab = {"like": "openai", "base_url": "http://127.0.0.1:9001/v1", "models": ["lab-*"]}
    found = target("lab-7b", config=config(providers={"lab": lab}))
    headers = CIMultiDict({"Authorization": "Bearer shin-key"})
    found.authorize(headers)
    assert found.url("/v1/chat/completions") == "http://127.0.0.1:9001/v1/chat/completions"
    assert "authorization" not in headers


@pytest.mark.parametrize(
    ("model", "dialect", "header", "value"),
    [
        ("gpt-4o", "openai.chat", "authorization", "Bearer sk-openai"),
        ("claude-x", "anthropic.messages", "x-api-key", "sk-ant"),
        ("gemini-x", "gemini.generate", "x-goog-api-key", "goog"),
    ],
)
def test_our_key_takes_the_place_of_every_other(model: str, dialect: str, header: str, value: str) -> None:
    headers = CIMultiDict(
        [("authorization", "Bearer ours"), ("X-Api-Key", "ours"), ("api-key", "ours"), ("x-goog-api-key", "ours"), ("accept", "*/*")]
    )  # fmt: skip
    target(model, dialect).authorize(headers)
    assert dict(headers) == {"accept": "*/*", header: value}


@pytest.mark.parametrize("path", ["/v1/images/generations", "/gemini/v1beta/openai/chat/completions?x=1"])
def test_geminis_compatible_api_wants_the_key_as_openai_does(policy: Policy, path: str) -> None:
    call = aimed(policy, "POST", path, b'{"model": "imagen-4"}')
    headers = CIMultiDict({"x-goog-api-key": "ours"})
    assert call.target is not None
    call.target.authorize(headers, call.path)
    assert dict(headers) == {"authorization": "Bearer goog"}


def test_a_key_in_the_query_stays_here() -> None:
    found = target("gemini-x", "gemini.generate")
    path = "/v1beta/models/gemini-x:generateContent"
    assert (
        found.url(f"{path}?key=ours&alt=sse&monkey=1")
        == f"https://generativelanguage.googleapis.com{path}?alt=sse&monkey=1"
    )
    assert found.url(f"{path}?%6bey=ours&key=ours&k%65y=ours").endswith(":generateContent")


def test_the_first_key_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert str(target("gemini-x", "gemini.generate").secret) == "env:GOOGLE_API_KEY"
    monkeypatch.setenv("GEMINI_API_KEY", "gem")
    assert str(target("gemini-x", "gemini.generate").secret) == "env:GEMINI_API_KEY"


def test_a_key_is_in_nothing_that_is_printed() -> None:
    assert "sk-openai" not in repr(target("gpt-4o"))


def refused(model: str, dialect: str = "openai.chat", config: Config = NONE) -> Refusal:
    with pytest.raises(Refusal) as caught:
        target(model, dialect, config)
    return caught.value


def test_no_model() -> None:
    refusal = refused("")
    assert isinstance(refusal, Invalid)
    assert (refusal.status, refusal.param, refusal.message) == (400, "model", 'The call names no model; set "model".')


@pytest.mark.parametrize("model", ["llama-3", "nobody/gpt-4o", "openai/", "/gpt-4o", "chatgpt", "gpt"])
def test_an_unknown_model(model: str) -> None:
    refusal = refused(model)
    assert isinstance(refusal, NotFound)
    assert (refusal.status, refusal.code, refusal.param) == (404, "model_not_found", "model")
    assert refusal.message.startswith(
        f'The model "{model}" is unknown; write provider/model, with one of openai, anthropic, gem'
    )


def test_a_name_made_to_break_something_is_cut_and_cleaned() -> None:
    message = refused("x\r\nset-cookie: a=b\x00" + "y" * 10_000).message
    assert message.isprintable()
    assert len(message) < 400


def test_a_model_that_speaks_another_dialect_is_asked_in_its_own() -> None:
    assert target("claude-sonnet-4-5").dialect == "anthropic.messages"
    assert target("gpt-4o", "anthropic.messages").dialect == "openai.chat"
    assert target("gpt-4o", "openai.responses").dialect == "openai.responses"


def test_a_kind_of_call_that_cannot_be_translated() -> None:
    with pytest.raises(Unsupported) as raised:
        target("claude-sonnet-4-5", "openai.embeddings", kind="embed")
    assert raised.value.status == 501
    assert raised.value.message == (
        'The model "claude-sonnet-4-5" of anthropic cannot be asked in the dialect openai.embeddings; it speaks '
        "anthropic.messages, and there is no translation for this kind of call."
    )


def test_no_credential(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.delenv("GOOGLE_API_KEY")
    refusal = refused("gpt-4o")
    assert isinstance(refusal, Unavailable)
    assert (refusal.status, refusal.code, refusal.retryable) == (400, "no_credential", False)
    assert refusal.message == "The gateway has no key for the provider openai: env:OPENAI_API_KEY is not there."
    assert "env:GEMINI_API_KEY or env:GOOGLE_API_KEY is not there" in refused("gemini-x", "gemini.generate").message


def test_a_key_that_goes_away_between_finding_and_asking(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("sk")
    found = target("gpt-4o", config=config(providers={"openai": {"api_key": f"file:{key}"}}))
    key.unlink()
    with pytest.raises(Unavailable, match="has no key for the provider openai"):
        found.authorize(CIMultiDict())


def test_a_provider_that_is_nowhere_yet() -> None:
    refusal = refused("azure_openai/gpt-4o")
    assert (refusal.status, refusal.code) == (400, "no_base_url")
    assert "set providers.azure_openai.base_url in shin.yaml" in refusal.message
    found = target(
        "azure_openai/gpt-4o",
        config=config(providers={"azure_openai": {"base_url": "https://a.openai.azure.com/openai/v1"}}),
    )
    assert found.url("/v1/chat/completions") == "https://a.openai.azure.com/openai/v1/chat/completions"


# Through the proxy


def test_the_client_goes_where_it_wants_with_its_own_key() -> None:
    row = Providers.load().for_host("api.anthropic.com", 443)
    found = target_for_origin("https://api.anthropic.com", row)
    headers = CIMultiDict([("Authorization", "Bearer sk-ant-oat"), ("anthropic-beta", "x")])
    found.authorize(headers)
    assert list(headers.items()) == [("Authorization", "Bearer sk-ant-oat"), ("anthropic-beta", "x")]
    assert found.url("/v1/messages?beta=true&key=mine") == "https://api.anthropic.com/v1/messages?beta=true&key=mine"
    assert found.url("//v1/./mess%61ges") == "https://api.anthropic.com//v1/./mess%61ges"
    assert (found.name, found.provider, found.prices) == ("anthropic", "anthropic", "anthropic")
    assert target_for_origin("https://api.anthropic.com", row) is found


# Anything below /{provider}


@pytest.mark.parametrize(
    ("base", "path", "url"),
    [
        ("https://h/v1", "/v1/files", "https://h/v1/files"),
        ("https://h/v1", "/files", "https://h/v1/files"),
        ("https://h/v1", "/v1", "https://h/v1"),
        ("https://h/v1", "/v10/files", "https://h/v1/v10/files"),
        ("https://h/api/v1", "/v1/files", "https://h/api/v1/files"),
        ("https://h/api/v1", "/api/v1/files", "https://h/api/v1/files"),
        ("https://h", "/v1/files", "https://h/v1/files"),
        ("https://h", "", "https://h"),
        ("https://h", "@evil.example/x", "https://h/@evil.example/x"),
        ("https://h", ".evil.example/x", "https://h/.evil.example/x"),
        ("https://h/v1", "//v1/files", "https://h/v1//v1/files"),
        ("https://h/v1", "?x=1", "https://h/v1?x=1"),
    ],
)
def test_paths_below_a_base(base: str, path: str, url: str) -> None:
    assert target_for_origin(base, Providers.load().generic).url(path) == url


# The whole way, from a request to its target


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    folder = tmp_path_factory.mktemp("policies")
    (folder / "gateway.yaml").write_text("hosts: [gateway]\n")
    gateway = load_policies([], Registry(), folder).gateway
    assert gateway is not None
    return gateway


def aimed(policy: Policy, method: str, path: str, body: bytes = b"", config: Config = NONE) -> Call:
    providers = Providers.load(config)
    headers = CIMultiDict({"content-type": "application/json"})
    arrival = at_gateway(providers, method, path, headers)
    assert arrival is not None
    call = Call(method=method, headers=headers, arrival=arrival, host="gateway", policy=policy, raw_body=body)
    aim(call, providers, config)
    return call


def test_a_name_with_its_provider_is_sent_without_it_and_nothing_else_changes(policy: Policy) -> None:
    call = aimed(policy, "POST", "/v1/chat/completions", b'{ "model" : "openai/gpt-4o",  "x": 1e3 }')
    assert call.body == b'{ "model" : "gpt-4o",  "x": 1e3 }'
    assert call.target.name == "openai/gpt-4o"


def test_a_name_that_stays_leaves_every_byte(policy: Policy) -> None:
    body = b'{"model":"gpt-4o","x":1e3}'
    assert aimed(policy, "POST", "/v1/chat/completions", body).body is body


def test_an_alias_in_a_path(policy: Policy) -> None:
    call = aimed(
        policy, "POST", "/v1beta/models/fast:countTokens", b"{}", config(models={"fast": "gemini/gemini-2.5-flash"})
    )
    url = "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:countTokens"
    assert call.target.url(call.path) == url


def test_anything_below_a_provider(policy: Policy) -> None:
    call = aimed(policy, "POST", "/openai/v1/files?purpose=x", b"not json")
    assert call.target.url(call.path) == "https://api.openai.com/v1/files?purpose=x"
    call = aimed(policy, "POST", "/anthropic/v1/messages", b'{"model":"claude-x"}')
    assert (call.target.url(call.path), call.kind) == ("https://api.anthropic.com/v1/messages", "chat")


def test_who_is_asked_for_a_list_of_models(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    assert aimed(policy, "GET", "/v1/models").target is None, "it is made from all lists"
    assert aimed(policy, "GET", "/openai/v1/models").target.provider == "openai"
    wanted = config(providers={"lab": {"like": "generic", "base_url": "http://127.0.0.1:9001/v1"}})
    providers = Providers.load(wanted)
    monkeypatch.delenv("OPENAI_API_KEY")
    used = {row.name for row in providers if in_use(row, wanted)}
    assert {"lab", "anthropic"} <= used
    assert used.isdisjoint({"openai", "azure_openai", "vertex", "ollama", "generic", "chatgpt", "code_assist"})
    assert lister(providers.get("lab"), "openai.chat").url("/models") == "http://127.0.0.1:9001/v1/models"


def test_the_name_that_leads_to_a_providers_model() -> None:
    named = config(providers={"lab": {"like": "openai", "models": "lab-*"}}, models={"gpt-4": "claude-opus-4"})
    providers = Providers.load(named)
    for row, model, name in (
        ("openai", "gpt-4o", "gpt-4o"), ("openai", "gpt-4", "openai/gpt-4"), ("openai", "mystery-9", "openai/mystery-9"),
        ("lab", "gpt-4o", "lab/gpt-4o"), ("lab", "lab-7", "lab-7"),
        ("openrouter", "openai/gpt-4o", "openrouter/openai/gpt-4o"), ("openrouter", "gpt-4o", "openrouter/gpt-4o"),
    ):  # fmt: skip
        assert name_of(model, providers.get(row), providers, named) == name
        found, there = led_to(name, providers, named)
        assert (found.name, there) == (row, model)


# ── through the proxy with a key of ours ────────────────────────────────────────────────────────


def at(scheme: str, host: str, port: int, path: str, config: Config = NONE, provider: str = "generic") -> Call:
    providers = Providers.load(config)
    policy = replace(load_policies([], Registry.load()).policies[0], provider=provider, paths=PathTable(()))
    request = SimpleNamespace(scheme=scheme, host=host, port=port, path=path)
    arrival = at_host(providers, policy, "GET" if "resp_" in path else "POST", request)
    assert arrival is not None
    call = Call(
        method="POST", headers=CIMultiDict({"x-api-key": "sk-shin-x"}), arrival=arrival, host=host, policy=policy
    )
    call.own_key = False
    call.target = target_of(call, providers, config)
    return call


@pytest.mark.parametrize(
    ("host", "path", "header", "key"),
    [
        ("api.openai.com", "/v1/chat/completions", "authorization", "Bearer sk-openai"),
        ("api.anthropic.com", "/v1/messages?beta=true&key=sk-shin-x", "x-api-key", "sk-ant"),
        (
            "generativelanguage.googleapis.com",
            "/v1beta/models/gemini-2.5-pro:generateContent",
            "x-goog-api-key",
            "goog",
        ),
        ("openrouter.ai", "/api/v1/chat/completions", "authorization", "Bearer sk-or"),
    ],
)
def test_our_key_in_the_place_of_one_of_ours(host: str, path: str, header: str, key: str) -> None:
    call = at("https", host, 443, path)
    assert call.target is not None
    headers = call.headers.copy()
    call.target.authorize(headers, path)
    assert dict(headers) == {header: key}
    assert call.target.url(path) == f"https://{host}{path.replace('&key=sk-shin-x', '')}"


@pytest.mark.parametrize(
    ("scheme", "host", "port", "provider"),
    [
        ("http", "api.openai.com", 80, "generic"),
        ("http", "api.openai.com", 443, "generic"),
        ("https", "api.openai.com", 8443, "generic"),
        ("https", "mallory.openai.azure.com", 443, "generic"),
        ("https", "mallory.example", 443, "openai"),
        ("https", "mallory.example", 443, "generic"),
    ],
)  # fmt: skip
def test_our_key_goes_nowhere_else(scheme: str, host: str, port: int, provider: str) -> None:
    with pytest.raises(Unavailable, match="no key for this host"):
        at(scheme, host, port, "/v1/chat/completions", provider=provider)


def test_our_key_goes_to_the_address_that_shin_yaml_says() -> None:
    own = config(providers={"azure_openai": {"base_url": "https://mine.openai.azure.com/openai/v1"},
                            "lab": {"like": "openai", "base_url": "http://127.0.0.1:9001/v1", "api_key": "env:OPENAI_API_KEY"}})  # fmt: skip
    assert at("https", "mine.openai.azure.com", 443, "/openai/v1/chat/completions", own).target is not None
    assert at("http", "127.0.0.1", 9001, "/v1/chat/completions", own).target is not None
    with pytest.raises(Unavailable):
        at("https", "theirs.openai.azure.com", 443, "/openai/v1/chat/completions", own)


def test_what_is_kept_under_our_key_is_not_everybodys() -> None:
    with pytest.raises(NotFound):
        at("https", "api.openai.com", 443, "/v1/responses/resp_1")
