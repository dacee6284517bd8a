"""The docs lag behind nothing: what the code can do is named in them, and what they show works."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any, cast, get_args

import pytest
import typer
from pydantic import BaseModel

from shin_gateway import dialects
from shin_gateway.addon import Addon, Stage
from shin_gateway.admin import actions, calls, dlq, health, kept, keys, policies
from shin_gateway.admin.parts import Parts
from shin_gateway.cli import agents
from shin_gateway.cli.app import app
from shin_gateway.config import Config, load_config
from shin_gateway.outcome import End
from shin_gateway.plugin import _OPTIONS
from shin_gateway.policy.model import PolicyFile
from shin_gateway.policy.paths import PathRow
from shin_gateway.policy.resolve import check
from shin_gateway.policy.schema import text
from shin_gateway.providers import Providers, ProviderSettings
from shin_gateway.registry import Registry
from shin_gateway.stores.rows import CallRow
from shin_gateway.stores.url import _OPTIONS as STATE_OPTIONS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
LINKED = [*PAGES, *(ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md", "bench/README.md"))]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_NAMED = re.compile(r"# (?:my-(?:policies|addons)/)?(\S+)\n")


def read(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def section(page: str, title: str) -> str:
    """What stands under the heading, up to the next one of the first two levels; without blocks of code."""
    prose = _FENCE.sub("", read(page))
    match = re.search(rf"^(#+) {re.escape(title)}$(.*?)(?=^#{{1,2}} |\Z)", prose, re.M | re.S)
    assert match, f"{page} has no section {title}"
    return match[2]


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """Fenced blocks of this language, each with the page that it stands on."""
    for page in PAGES:
        for found, body in _FENCE.findall(page.read_text(encoding="utf-8")):
            if found == language:
                yield page.name, body


def named(text: str, words: Any) -> list[str]:
    """The words that the text does not hold as `code`, alone or with other code around it."""
    code = " ".join(re.findall(r"`([^`\n]+)`", text))
    return [word for word in words if not re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", code)]


# ── settings and keys ────────────────────────────────────────────────────────────────────────────


def addon(name: str) -> type[Addon[Any]]:
    found = Registry.load().get(name)
    assert found
    return found


def fields(model: type[BaseModel]) -> Iterator[str]:
    """Names of a model's fields, and of those of the models inside."""
    for name, field in model.model_fields.items():
        yield name
        for inner in _models(field.annotation):
            yield from fields(inner)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        if part is not NoneType:
            yield from _models(part)


@pytest.mark.parametrize("name", Registry.load())
def test_every_setting_of_every_addon(name: str) -> None:
    told = section("addons.md", name)
    assert not [one for one in fields(addon(name).settings_type()) if f"\n| `{one}` |" not in told]
    assert f"`{name}`" in re.search(rf"^\| `{addon(name).stage.name.lower()}` .*$", read("addons.md"), re.M)[0]  # type: ignore[index]


def test_every_stage() -> None:
    assert not named(section("addons.md", "Stages"), [stage.name.lower() for stage in Stage])


def test_every_key_of_shin_yaml() -> None:
    own = {name: field for name, field in Config.model_fields.items() if name != "providers"}
    written = "".join(body for page, body in blocks("yaml") if page == "cli.md")
    lacking = [name for name in own if not re.search(rf"^{name}:", written, re.M)]
    inner = [one for field in own.values() for model in _models(field.annotation) for one in fields(model)]
    assert not lacking + [name for name in inner if f"  {name}: " not in written]


@pytest.mark.parametrize("model", [PolicyFile, ProviderSettings, PathRow])
def test_every_key_of_policies_and_rows(model: type[BaseModel]) -> None:
    assert not named(read("policies.md") + read("providers.md"), fields(model))


def test_every_column_of_a_row_and_every_end() -> None:
    told = section("metering.md", "The row")
    assert not named(told, CallRow.__struct_fields__)
    assert not named(told, get_args(End))


def test_every_header_of_ours() -> None:
    source = "".join(path.read_text() for path in [*ROOT.glob("shin_gateway/**/*.py"), *ROOT.glob("addons/*.py")])
    headers = set(re.findall(r"\"(x-shin-[a-z-]*[a-z])\"", source))
    assert headers
    assert not named(section("metering.md", "Headers"), headers)


def test_every_fact() -> None:
    source = "".join(path.read_text() for path in [*ROOT.glob("shin_gateway/**/*.py"), *ROOT.glob("addons/*.py")])
    notes = re.findall(r"\bcall\.note\(\s*(\w+)=(?:\"(\w+)\")?", source)
    assert {name for name, _ in notes} >= {"dropped", "retry", "unlisted"}
    words = {word for note in notes for word in note if word} - {"cache", "hit"}
    assert not named(section("metering.md", "Facts"), words)


def test_every_provider_with_its_key() -> None:
    told = section("providers.md", "Those that come with Shin")
    for row in Providers.load():
        assert not named(told, [row.name, *(str(key).removeprefix("env:") for key in row.api_key)])


def test_every_dialect() -> None:
    assert not named(read("providers.md"), set(dialects.NAMES) - {"plain"})


def test_every_agent_with_its_variables() -> None:
    for agent in agents.agents():
        line = re.search(rf"^\| {re.escape(agent.name)} \|.*$", read("agents.md"), re.M)
        assert line, agent.name
        assert not named(line[0], [*agent.ca, agent.proxy[0], *agent.needs])


def test_every_path_of_the_admin_server() -> None:
    parts = cast(Parts, None)  # routes alone are asked for
    routers = [one.router(parts) for one in (health, calls, policies, keys, kept, dlq, actions)]
    paths = [route.path for router in routers for route in router.routes]
    assert "/api/v1/calls" in paths
    assert not named(read("admin.md"), paths)


def test_every_option_of_mitmdump_and_of_a_state_url() -> None:
    assert not named(section("modes.md", "Plain mitmdump"), [*_OPTIONS, "shin_ship"])
    assert not named(section("stores.md", "State"), STATE_OPTIONS)


# ── commands ─────────────────────────────────────────────────────────────────────────────────────


def commands() -> dict[str, set[str]]:
    """`ca show` → its options, as the program itself has them."""

    def walk(command: Any, name: str) -> Iterator[tuple[str, set[str]]]:
        yield (
            name,
            {option for one in command.params for option in [*one.opts, *one.secondary_opts] if option[0] == "-"},
        )
        for word, inner in getattr(command, "commands", {}).items():
            yield from walk(inner, f"{name} {word}".strip())

    found = dict(walk(typer.main.get_command(app), ""))
    assert {"run", "ca show"} <= found.keys()
    return found


@pytest.mark.parametrize(("command", "options"), [(name, own) for name, own in commands().items() if name])
def test_every_command_with_its_options(command: str, options: set[str]) -> None:
    told = section("cli.md", f"shin {command}").split("\n### ")[0]
    assert not named(told, options)
    written = set(re.findall(r"(?<=`)--?[a-z][a-z-]*(?=`)", told))
    assert written <= options, "cli.md names an option that is none"


def test_commands_that_the_docs_show_exist() -> None:
    """Options of `shin …` in every block that is to be typed."""
    known = commands()
    shown = [line for language in ("sh", "console") for _, body in blocks(language) for line in body.splitlines()]
    lines = [line.removeprefix("$ ") for line in shown if re.match(r"(\$ )?(SHIN_USER=\S+ )?shin ", line)]
    assert len(lines) > 10
    for line in lines:
        words = shlex.split(line.partition(" -- ")[0], comments=True)
        words = words[words.index("shin") + 1 :]
        name = next(name for name in (" ".join(words[:2]), words[0]) if name in known)
        options = {word.partition("=")[0] for word in words if word.startswith("-")}
        assert options <= known[name] | {"--help"}, line


# ── what the pages show ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("page", LINKED, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in _LINK.findall(page.read_text(encoding="utf-8")):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}"
        assert not anchor or anchor in _anchors(target), f"{page.name}: {link}"


def _anchors(page: Path) -> set[str]:
    """The anchors of headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", _FENCE.sub("", page.read_text(encoding="utf-8")), re.M)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_every_page_is_found_from_the_readme(page: Path) -> None:
    assert f"(docs/{page.name})" in PAGES[0].read_text(encoding="utf-8")


EXAMPLES = [(page, body) for page, body in blocks("yaml") if not body.startswith("# shin.yaml\n")]
CONFIGS = [(page, body) for page, body in blocks("yaml") if body.startswith("# shin.yaml\n")]


@pytest.fixture
def shown_addons(tmp_path: Path) -> Registry:
    """Our addons and those whose whole source the pages show."""
    folder = tmp_path / "addons"
    folder.mkdir()
    for _, body in blocks("python"):
        (folder / _name(body)).write_text(body)
    return Registry.load([folder])


def _name(body: str) -> str:
    name = _NAMED.match(body)
    assert name, f"an example begins with the name of its file: {body[:40]!r}"
    return name[1]


def test_there_are_examples() -> None:
    assert {page for page, _ in EXAMPLES} >= {"README.md", "policies.md", "addons.md"}
    assert {page for page, _ in CONFIGS} >= {"cli.md", "providers.md", "stores.md", "modes.md"}


@pytest.mark.parametrize(("page", "body"), EXAMPLES, ids=[f"{page}:{_name(body)}" for page, body in EXAMPLES])
def test_policies_that_the_pages_show_load(page: str, body: str, tmp_path: Path, shown_addons: Registry) -> None:
    """Each with the presets of its page."""
    own = tmp_path / "policies"
    (own / "presets").mkdir(parents=True)
    presets = [other for where, other in EXAMPLES if where == page and "presets/" in _name(other)]
    for one in {body, *presets}:
        (own / _name(one)).write_text(one)
    assert [str(problem) for problem in check([own], shown_addons)] == []


@pytest.mark.parametrize(
    ("page", "body"), CONFIGS, ids=[f"{page}-{number}" for number, (page, _) in enumerate(CONFIGS)]
)
def test_configurations_that_the_pages_show_load(page: str, body: str, tmp_path: Path) -> None:
    path = tmp_path / "shin.yaml"
    path.write_text(body)
    config = load_config(path)
    Providers.load(config)
    assert config != Config()


def test_the_schema_is_fresh() -> None:
    fresh = text(Registry.load())
    assert (DOCS / "policy.schema.json").read_text(encoding="utf-8") == fresh, (
        "python -m shin_gateway.policy.schema > docs/policy.schema.json"
    )
