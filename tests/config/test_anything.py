"""Whatever a file holds, loading gives a configuration or located problems, and no secret is ever shown."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sojourn.config.configuration import Configuration
from sojourn.config.effective import as_yaml, effective
from sojourn.config.loader import loads
from sojourn.config.schema import PROVIDERS, AgentConfig
from sojourn.errors import ConfigInvalid
from tests.config.reading import MINIMAL

#: An agent that uses every section; SECRET stands wherever a secret may be written.
FULL = """\
agentId: everything
agentCard: {name: a, description: b, url: "http://u:SECRET@h", version: "1", securitySchemes: {k: {apiKey: SECRET}}}
systemPrompt:
  contributors:
    - {id: main, type: static, priority: 0, content: Be kind.}
    - {id: date, type: dynamic, source: date, priority: 10}
    - {id: files, type: file, priority: 20, files: ["${{sojourn.agent_dir}}/a.md"], options: {maxFileSize: 1000}}
llm: {provider: openai, model: gpt-5, apiKey: SECRET, baseURL: "https://u:SECRET@h/v1", reasoning: {variant: high}}
mcpServers:
  files: &server
    type: stdio
    command: npx
    args: [-y, --token, SECRET, "--api-key=SECRET"]
    env: {A: SECRET}
    timeout: 1000
  more: *server
  web: {type: http, url: "https://u:SECRET@h/mcp?key=SECRET", headers: {A: SECRET}}
storage:
  cache: {type: redis, url: "redis://:SECRET@h", password: SECRET}
  database: {type: postgres, url: "postgres://u:SECRET@h/d", connectionString: SECRET}
  blob: {type: local}
sessions: {maxSessions: 10, sessionTTL: 1000}
permissions: {mode: manual, timeout: 5, toolPolicies: {alwaysAllow: [a]}}
logger: {level: info, transports: [{type: console}, {type: upstash, token: SECRET}]}
telemetry: {enabled: true, export: {type: otlp, endpoint: "http://u:SECRET@h", headers: {a: SECRET}}}
tools: [{type: a, token: SECRET, inner: {password: SECRET}}]
hooks: [{type: b, apiKey: SECRET}]
resources: [{type: filesystem, paths: [/x]}]
prompts: [{type: inline, id: hello, prompt: Hello}, {type: file, file: /x}]
compaction: {type: noop, clientSecret: SECRET}
memories: {enabled: true}
elicitation: {enabled: true}
sojourn: {busy: reject}
"""

#: The same with variables, everywhere that they count.
WITH_VARIABLES = """\
systemPrompt: Be kind.
llm: {provider: openai, model: gpt-5, apiKey: $KEY}
mcpServers:
  files: {type: stdio, command: "$KEY", args: [a, "${KEY}", "x$KEY"], env: {A: $KEY}}
  web: {type: http, url: "http://h/$KEY", headers: {A: Bearer $KEY}}
storage:
  cache: {type: redis, url: "redis://$KEY"}
  database: {type: sqlite, url: $KEY, connectionString: $KEY}
"""

SECRETS = st.text("ghijkmnqvwz", min_size=12, max_size=20)
TEXTS = st.text(max_size=12) | st.sampled_from([*PROVIDERS, "stdio", "$X", "${{dexto.agent_dir}}/x", "true", "5", "<<"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=12
)
RENAMED = ("", "stdio", "http", "url", "args", "sqlite")
KEYS = tuple(field.alias or name for name, field in AgentConfig.model_fields.items())


def outcome(text: str, environ: dict[str, str] | None = None) -> tuple[Configuration | None, list[str]]:
    """What loading gave, and every sentence that it said; fails where a problem is not located."""
    try:
        configuration = loads(text, "/a/agent.yml", environ=environ or {})
    except ConfigInvalid as caught:
        error = caught
    else:
        for warning in configuration.warnings:
            located(str(warning), text)
        return configuration, [str(it) for it in configuration.warnings]
    assert error.problems
    for problem in error.problems:
        located(problem, text)
    return None, [*error.problems, str(error), repr(error)]


def located(sentence: str, text: str) -> None:
    found = re.match(r"/a/agent\.yml(:(?P<line>\d+))?: \S", sentence)
    assert found
    assert "\n" not in sentence
    if found["line"]:
        assert 1 <= int(found["line"]) <= text.count("\n") + 1


def yaml_of(value: Any) -> str:
    """The value as YAML in flow style, without a library that might refuse it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{yaml_of(key)}: {yaml_of(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(yaml_of, value)) + "]"
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(mark):08x}" for mark in value) + '"'
    return {None: "null", True: "true", False: "false"}.get(
        value, str(value).replace("inf", ".inf").replace("nan", ".nan")
    )


@settings(deadline=None)
@given(st.text() | st.text("[]{}:,-?&*!|>'\"%@#\n\t \\<=ab"))
def test_any_text_is_loaded_or_explained(text: str) -> None:
    outcome(text)


@settings(deadline=None)
@given(VALUES)
def test_any_value_is_loaded_or_explained(value: Any) -> None:
    outcome(yaml_of(value))


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=5))
def test_any_sections_are_loaded_or_explained(sections: dict[str, Any]) -> None:
    text = "".join(f"{key}: {yaml_of(value)}\n" for key, value in sections.items())
    outcome(text)
    configuration, _ = outcome(MINIMAL + "".join(f"{key}: {yaml_of(value)}\n" for key, value in sections.items()))
    if configuration is not None:
        assert effective(configuration)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid file after an accident."""
    lines = FULL.encode().splitlines(keepends=True)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(lines) - 1))
        match draw(st.sampled_from(["drop", "double", "flip", "rename", "replace", "indent"])):
            case "drop" if len(lines) > 1:
                del lines[at]
            case "double":
                lines.insert(draw(st.integers(0, len(lines))), lines[at])
            case "flip":
                place = draw(st.integers(0, max(len(lines[at]) - 1, 0)))
                lines[at] = lines[at][:place] + draw(st.binary(max_size=2)) + lines[at][place + 1 :]
            case "rename":
                name = draw(st.sampled_from([b"x:", b"type:", b"env:", b"0:", b"<<:"]))
                lines[at] = re.sub(rb"\w+:", name, lines[at], count=1)
            case "replace":
                lines[at] = lines[at].split(b":")[0] + b": " + yaml_of(draw(VALUES)).encode() + b"\n"
            case _:
                lines[at] = b" " * draw(st.integers(0, 5)) + lines[at].lstrip(b" ")
    return b"".join(lines)


@settings(deadline=None)
@given(mutated())
def test_a_damaged_file_is_loaded_or_explained(content: bytes) -> None:
    configuration, _ = outcome(content.decode("utf-8", "replace"))
    if configuration is not None:
        as_yaml(configuration)


def test_the_full_file_is_valid() -> None:
    configuration, _ = outcome(FULL)
    assert configuration is not None
    assert set(configuration.sections) == set(KEYS) - {"agentFile", "image", "greeting"}


def said_of(text: str, environ: dict[str, str]) -> list[str]:
    """Everything that loading a text shows anybody."""
    configuration, said = outcome(text, environ)
    if configuration is not None:
        said += [repr(configuration), str(configuration.agent), as_yaml(configuration), repr(effective(configuration))]
    return said


@settings(deadline=None, max_examples=50)
@given(SECRETS)
def test_a_secret_in_the_file_is_never_shown(secret: str) -> None:
    for said in said_of(FULL.replace("SECRET", secret), {}):
        assert secret not in said


#: Changes that make the file wrong around its secrets.
BREAKS = [
    ("stdio", "studio"), ("http,", "htp,"), ("env: {A: SECRET}", "env: [SECRET]"), ("{A: SECRET}", "{A: {B: SECRET}}"),
    ("{A: SECRET}", "SECRET"), ("apiKey: SECRET", "apiKey: [SECRET]"), ("apiKey: SECRET", "apikey: SECRET"),
    ("https://", ""), ("url:", "ulr:"), ("token: SECRET", "type: {token: SECRET}"), ("database:", "databases:"),
    ("args: [-y,", "args: {y:"), ("apiKey: SECRET", "apiKey: *SECRET"), ("apiKey: SECRET", "apiKey: !SECRET x"),
    ("apiKey: SECRET", "apiKey: SECRET: x"), ("apiKey: SECRET", "apiKey: 'SECRET"),
]  # fmt: skip


@settings(deadline=None, max_examples=50)
@given(SECRETS, st.sampled_from(BREAKS), st.sampled_from(BREAKS))
def test_a_secret_in_a_wrong_file_is_never_shown(secret: str, first: tuple[str, str], second: tuple[str, str]) -> None:
    text = FULL.replace(*first).replace(*second).replace("SECRET", secret)
    for said in said_of(text, {}):
        assert secret not in said


@settings(deadline=None, max_examples=50)
@given(
    SECRETS,
    st.lists(st.sampled_from(range(30)), max_size=3),
    st.sampled_from(["", "stdio", "http", "url", "args", "sqlite"]),
)
def test_a_value_from_the_environment_is_never_shown(secret: str, dropped: list[int], renamed: str) -> None:
    lines = WITH_VARIABLES.splitlines(keepends=True)
    text = "".join(line for number, line in enumerate(lines) if number not in dropped)
    text = text.replace(renamed, "zzz") if renamed else text
    for said in said_of(text, {"KEY": secret}):
        assert secret not in said
