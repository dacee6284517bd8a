"""probe"""
from __future__ import annotations

import asyncio, base64, json, ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from shin_gateway.keys import KeyRecord, Registrar
from tests.e2e.serving import CHAT, MESSAGES, Serving, serve, write_config
from tests.provider import Answer, FakeProvider, Seen, Tokens

pytestmark = pytest.mark.asyncio(loop_scope="module")
OURS = "sk-of-the-gateway"

class Place:
    def __init__(self, serving, provider, registrar):
        self.serving, self.provider, self.registrar = serving, provider, registrar
    @property
    def url(self): return f"https://localhost:{self.provider.port}"
    @property
    def seen(self): return self.provider.seen
    async def policy(self, addons: str, more: str = "") -> None:
        host = self.url.removeprefix("https://")
        for name, hosts in (("gateway", "gateway"), ("local", host)):
            self.serving.policy(name, f"hosts: ['{hosts}']\n{more}\nextends: standard\naddons:\n{addons}")
        await self.serving.worker.reload()
    async def key(self, **fields: Any):
        return await self.registrar.create(**{"user": "ann", "roles": ("user",), **fields})

@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def started(tmp_path_factory) -> AsyncIterator[Place]:
    folder = tmp_path_factory.mktemp("attacks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHIN_TEST_KEY", OURS)
        patch.setenv("SHIN_BOB", "of-bob")
        async with FakeProvider(tls=True, host="127.0.0.1") as secure:
            url = f"https://localhost:{secure.port}"
            urls = {"openai": f"{url}/v1", "anthropic": url, "gemini": url}
            more = f"""upstream: {{ca: {str(secure.ca_file)!r}}}
roles:
  cheap: {{models: ['gpt-4o-mini', 'gemini-2.5-flash*']}}
"""
            config = write_config(folder, urls, more)
            async with serve(folder / "home", config, folder / "policies") as one:
                yield Place(one, secure, Registrar(one.worker.gateway.state))

@pytest_asyncio.fixture(loop_scope="module")
async def place(started):
    started.provider.seen.clear()
    await started.serving.worker.gateway.state.run("DEL", "shin:{rows}")
    return started

def show(tag, reply, place):
    s = place.seen[-1] if place.seen else None
    print(f"\n[{tag}] {reply.status_code} {reply.text[:160]!r}", "UP:" + (s.target + ' ' + str({k: v for k, v in s.headers if k in ('authorization','x-api-key','api-key','x-goog-api-key','cookie','host')}) if s else "-"))
    place.seen.clear()

async def test_keys_leak(place):
    await place.policy("  auth: on\n  access: on\n")
    _, key = await place.key()
    for proxied in (True, False):
      for tag, headers, path in [
        ("two words", {"authorization": f"Bearer Bearer {key}"}, ""),
        ("tab", {"authorization": f"Bearer\t{key}"}, ""),
        ("quoted", {"authorization": f'Bearer "{key}"'}, ""),
        ("comma", {"authorization": f"Bearer {key}, Bearer x"}, ""),
        ("nopad", {"authorization": "Basic " + base64.b64encode(f"u:{key}".encode()).decode().rstrip("=")}, ""),
        ("user part", {"authorization": "Basic " + base64.b64encode(f"{key}:".encode()).decode()}, ""),
        ("user part2", {"authorization": "Basic " + base64.b64encode(f"{key}:x".encode()).decode()}, ""),
        ("cookie", {"authorization": "Bearer theirs", "cookie": f"k={key}"}, ""),
        ("Key query", {"authorization": "Bearer theirs"}, f"?Key={key}"),
        ("api_key query", {"authorization": "Bearer theirs"}, f"?api_key={key}"),
        ("access_token", {"authorization": "Bearer theirs"}, f"?access_token={key}"),
        ("subkey", {"authorization": "Bearer theirs", "ocp-apim-subscription-key": key}, ""),
        ("semi", {"authorization": "Bearer theirs"}, f"?a=1;key={key}"),
        ("enc", {"authorization": "Bearer theirs"}, f"?k%65y={key}"),
        ("plus", {"authorization": "Bearer theirs"}, f"?key=+{key}"),
        ("frag", {"authorization": "Bearer theirs"}, f"?x#key={key}"),
        ("empty val", {"authorization": "Bearer theirs", "x-api-key": ""}, ""),
      ]:
        login = f"ann:{key}@" if proxied else ""
        async with (place.serving.client(login=login) if proxied else httpx2.AsyncClient(trust_env=False)) as http:
            base = place.url if proxied else place.serving.gateway
            for p in ("/v1/chat/completions", "/api/telemetry"):
                if not proxied and p.startswith("/api"): continue
                reply = await http.post(base + p + path, json=CHAT, headers=headers)
                leak = any(key in f"{one.target} {one.headers}" or base64.b64encode(key.encode()).decode()[:20] in str(one.headers) for one in place.seen)
                print(f"\n{'LEAK' if leak else 'ok  '} {'proxy' if proxied else 'gate'} {tag} {p} -> {reply.status_code}", [(s.target, [h for h in s.headers if key[:12] in str(h) or 'auth' in str(h[0]).lower()]) for s in place.seen] if leak else reply.text[:90] if reply.status_code>=400 else '')
                place.seen.clear()

async def test_models(place):
    await place.policy("  auth: on\n  access: on\n")
    _, key = await place.key(roles=("cheap",))
    h = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    async with place.serving.client() as prox, httpx2.AsyncClient(trust_env=False) as gate:
        async def both(tag, path, body, headers={}):
            for name, http, base in (("gate", gate, place.serving.gateway), ("row", gate, place.serving.gateway + "/openai"), ("prox", prox, place.url)):
                r = await http.post(base + path, content=body, headers=h | headers)
                print(f"\n[{tag}/{name}] {r.status_code} {r.text[:110] if r.status_code>=400 else ''} UP {[ (s.target, bytes(s.body)[:80]) for s in place.seen]}")
                place.seen.clear()
        C = "/v1/chat/completions"
        m = b'"messages":[{"role":"user","content":"x"}]'
        await both("ok", C, b'{"model":"gpt-4o-mini",'+m+b'}')
        await both("forbidden", C, b'{"model":"gpt-4o",'+m+b'}')
        await both("ws Model", C, b' {"model":"gpt-4o-mini","Model":"gpt-4o",'+m+b'}')
        await both("ws models", C, b'\n{"model":"gpt-4o-mini","models":["gpt-4o"],'+m+b'}')
        await both("overflow", C, b'{"model":"gpt-4o-mini","Model":"gpt-4o","MODEL":1e999,'+m+b'}')
        await both("dup", C, b'{"model":"gpt-4o","model":"gpt-4o-mini",'+m+b'}')
        await both("prefixed", C, b'{"model":"openai/gpt-4o-mini",'+m+b'}')
        await both("azure", "/openai/deployments/gpt-4o/chat/completions?api-version=1", b'{"model":"gpt-4o-mini",'+m+b'}')
        await both("azure2", "/openai/deployments/gpt-4o/x/../chat/completions?api-version=1", b'{"model":"gpt-4o-mini",'+m+b'}')
        await both("azure3", "/openai/deployments/gpt-4o-mini/chat/completions%3F/../../../gpt-4o/chat/completions?api-version=1", b'{"model":"gpt-4o-mini",'+m+b'}')
        g = b'{"contents":[{"parts":[{"text":"x"}]}]}'
        await both("gem", "/v1beta/models/gemini-2.5-pro:generateContent", g)
        await both("gem ok", "/v1beta/models/gemini-2.5-flash:generateContent", g)
        await both("gem ..", "/v1beta/models/gemini-2.5-flash/../gemini-2.5-pro:generateContent", g)
        await both("gem ?", "/v1beta/models/gemini-2.5-flash:generateContent%3F/../gemini-2.5-pro:generateContent", g)
        await both("gem #", "/v1beta/models/gemini-2.5-flash:generateContent%23/../gemini-2.5-pro:generateContent", g)
        await both("gem ;", "/v1beta/models/gemini-2.5-flash;x:generateContent", g)
        await both("enc", "/v1beta/models/gemini-2.5-flash%252F..%252Fgemini-2.5-pro:generateContent", g)
        await both("gz", C, b'{"model":"gpt-4o-mini"}', {"content-encoding": "nonsense"})
        form = b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\ngpt-4o\r\n--B\r\nContent-Disposition: form-data; name="model"\r\n\r\ngpt-4o-mini\r\n--B--\r\n'
        await both("form", "/v1/images/edits", form, {"content-type": "multipart/form-data; boundary=B"})
        form = b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\ngpt-4o-mini\r\n--B\r\nContent-Disposition: form-data; name="model"\r\n\r\ngpt-4o\r\n--B--\r\n'
        await both("form2", "/v1/images/edits", form, {"content-type": "multipart/form-data; boundary=B"})
        form = b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\ngpt-4o-mini\r\n--B\r\nContent-Disposition: form-data; name="Model"; filename=x\r\n\r\ngpt-4o\r\n--B--\r\n'
        await both("formchat", C, form, {"content-type": "multipart/form-data; boundary=B"})
        await both("jsonform", C, b'{"model":"gpt-4o",'+m+b'}', {"content-type": "multipart/form-data; boundary=B"})

async def spent(place):
    await asyncio.sleep(0.3)
    st = place.serving.worker.gateway.state
    out = {}
    for k in await st.run("KEYS", "*}a:*") + await st.run("KEYS", "*:a:*"):
        out[k.decode().split("a:",1)[1]] = await st.run("HGETALL", k)
    return out

async def clear(place):
    st = place.serving.worker.gateway.state
    for k in set(await st.run("KEYS", "*}a:*") + await st.run("KEYS", "*:a:*")): await st.run("DEL", k)

async def test_money(place):
    await place.policy("  auth: on\n  budget: {limit: 1M tokens/day, per: everyone}\n")
    _, key = await place.key()
    h = {"authorization": f"Bearer {key}"}
    async with httpx2.AsyncClient(trust_env=False, timeout=10) as http:
        async def one(tag, path, body, answer=None, leave=0.0, stream=False):
            await clear(place)
            if answer: place.provider.script(answer)
            try:
                if leave:
                    async with asyncio.timeout(leave):
                        await http.post(place.serving.gateway + path, json=body, headers=h)
                else:
                    r = await http.post(place.serving.gateway + path, json=body, headers=h)
                    print(f"\n[{tag}] {r.status_code} {r.text[:120]!r}")
            except TimeoutError: print(f"\n[{tag}] left")
            print("   SPENT", await spent(place))
            place.seen.clear()
        C = "/v1/chat/completions"
        await one("plain", C, CHAT | {"max_tokens": 100})
        held = Answer(wait_head=1.0)
        async def holding(tag, path, body):
            await clear(place)
            place.provider.script(held)
            t = asyncio.create_task(http.post(place.serving.gateway + path, json=body, headers=h))
            await asyncio.sleep(0.3)
            print(f"\n[hold {tag}]", await spent(place)); r = await t; print(r.status_code, r.text[:100])
        await holding("n", C, CHAT | {"max_tokens": 1000, "n": 100})
        await holding("max_tokens 9999 mct 1", C, CHAT | {"max_tokens": 9999, "max_completion_tokens": 1})
        await holding("mot 1", C, CHAT | {"max_output_tokens": 1})
        await holding("neg", C, CHAT | {"max_tokens": -5})
        await holding("bool", C, CHAT | {"max_tokens": True})
        await holding("1e308", C, CHAT | {"max_tokens": 1e308})
        await holding("1e14", C, CHAT | {"max_tokens": 10**14})
        await holding("str", C, CHAT | {"max_tokens": "100000"})
        await holding("compl prompts", "/v1/completions", {"model": "davinci-002", "prompt": ["x"]*50, "max_tokens": 1000, "best_of": 4})
        await one("background", "/v1/responses", {"model": "gpt-4o", "input": "hi", "background": True, "max_output_tokens": 50000}, Answer(body=b'{"id":"resp_1","object":"response","status":"queued","background":true,"model":"gpt-4o","output":[],"usage":null}'))
        await one("left", C, CHAT | {"max_tokens": 5000}, Answer(wait_head=2), leave=0.5)

async def test_ident(place):
    from tests.e2e.wire import Wire, request
    await place.policy("  auth: on\n  access: on\n")
    rec, key = await place.key()
    rec2, bob = await place.key(user="bob", roles=("cheap",))
    rec3, gone = await place.key(user="eve"); await place.registrar.revoke(rec3.id)
    rec4, old = await place.key(user="rot"); await place.registrar.rotate(rec4.id, 0)
    body = json.dumps(CHAT).encode()
    gate = Wire(place.serving.gateway)
    async def g(tag, *headers, path="/v1/chat/completions", body=body):
        a = await gate.ask(request(path, body, "content-type: application/json", *headers))
        print(f"\n[{tag}] {a.status} {a.body[:110]!r} UP {[(s.target,[h for h in s.headers if h[0].lower() in ('authorization','x-api-key','api-key','x-goog-api-key','cookie','host')]) for s in place.seen]}"); place.seen.clear()
    await g("none"); await g("revoked", f"authorization: Bearer {gone}"); await g("rotated", f"authorization: Bearer {old}")
    await g("lower", f"authorization: bearer {key}"); await g("scheme", f"authorization: Foo {key}"); await g("bare", f"authorization: {key}")
    await g("two owners", f"authorization: Bearer {bob}", f"x-api-key: {key}")
    await g("dup auth", f"authorization: Bearer {bob}", f"authorization: Bearer {key}")
    await g("ours+theirs", f"authorization: Bearer {key}", "x-api-key: sk-ant-theirs")
    await g("ours+revoked", f"authorization: Bearer {key}", f"x-api-key: {gone}")
    await g("q", path=f"/v1/chat/completions?key={key}")
    await g("cookie", f"cookie: a={key}")
    await g("9 keys", *[f"x-api-key: k{i}" for i in range(9)])
    await g("prov hdr", f"authorization: Bearer {key}", "x-shin-provider: anthropic")
    await g("refresh as key", "authorization: Bearer shin-refresh-abc")
    await g("host hdr", f"authorization: Bearer {key}", "host: evil.example")
    await g("other", f"authorization: Bearer {key}", path="/openai/v1/organization/api_keys")
    await g("other dotdot", f"authorization: Bearer {key}", path="/openai/v1/chat/../organization/api_keys")
    await g("guest models", path="/v1/models")
    # absolute form at the gateway
    await g("absolute at gateway", f"authorization: Bearer {key}", path="http://169.254.169.254/v1/chat/completions")
    # proxy: CONNECT A then SNI/Host B
    host = place.url.removeprefix("https://")
    def basic(l): return "proxy-authorization: Basic " + base64.b64encode(l.encode()).decode()
    addr = place.serving.proxy()
    async def p(tag, *headers, login="", path="/v1/chat/completions", hosthdr=None, sni="", body=body):
        w = Wire(addr, host, place.serving.ca, login=login, sni=sni)
        try:
            a = await w.ask(request(path, body, "content-type: application/json", *headers, **({"host": hosthdr} if hosthdr else {"host": f"host: {host}"})))
            print(f"\n[{tag}] {a.status} {a.body[:110]!r} UP {[(s.target,[h for h in s.headers if h[0].lower() in ('authorization','x-api-key','host')]) for s in place.seen]}")
        except Exception as e: print(f"\n[{tag}] {e!r}")
        place.seen.clear()
    await p("p key"  , f"authorization: Bearer {key}")
    await p("p host hdr", f"authorization: Bearer {key}", hosthdr="host: evil.example")
    await p("p host hdr telemetry", f"authorization: Bearer {key}", hosthdr="host: evil.example", path="/telemetry")
    await p("p absolute in tunnel", f"authorization: Bearer {key}", path="https://evil.example/v1/chat/completions")
    await p("p login bob key ann", f"authorization: Bearer {key}", login=basic(f"bob:{bob}"))
    await p("p login", "authorization: Bearer theirs", login=basic(f"x:{key}"))
    await p("p login revoked", "authorization: Bearer theirs", login=basic(f"x:{gone}"))
    await p("p login refresh", "authorization: Bearer theirs", login=basic(f"x:shin-refresh-a"))
    await p("p inner proxy-auth", "authorization: Bearer theirs", basic(f"x:{key}"))
    G = b'{"contents":[{"parts":[{"text":"x"}]}]}'
    await p("p gem ?", f"authorization: Bearer {bob}", path="/v1beta/models/gemini-2.5-flash:generateContent%3F/../gemini-2.5-pro:generateContent", body=G)
    await p("p gem ..", f"authorization: Bearer {bob}", path="/v1beta/models/gemini-2.5-flash/../gemini-2.5-pro:generateContent", body=G)
    await p("p gem tuned", f"authorization: Bearer {bob}", path="/v1beta/models/x/models/gemini-2.5-flash:generateContent", body=G)
    await p("p gem q", f"authorization: Bearer {bob}", path="/v1beta/models/gemini-2.5-flash:generateContent?x=/models/a:generateContent", body=G)
    await p("p gem 2colon", f"authorization: Bearer {bob}", path="/v1beta/models/gemini-2.5-flash:x:generateContent", body=G)
