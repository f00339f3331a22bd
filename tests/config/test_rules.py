"""What is allowed in each place, and between places; what has no effect."""

from __future__ import annotations

import pytest

from sojourn.config.notices import WITHOUT_EFFECT
from sojourn.config.schema import PROVIDERS, StaticContributor
from tests.config.reading import added, problems, problems_added, read, warnings_added

PROMPT = "systemPrompt: Be kind.\n"
INT = "a whole number greater than 0"
TEXT = "a text that is not empty"
URL = "a URL that begins with http:// or https://"


def test_the_documented_defaults_count() -> None:
    agent = added("").agent
    assert (agent.sessions.max_sessions, agent.sessions.session_ttl) == (100, 3_600_000)
    assert (agent.permissions.mode, agent.permissions.timeout, agent.elicitation.timeout) == ("manual", None, None)
    assert agent.llm.max_iterations == 50


def test_a_plain_system_prompt_is_one_static_contributor() -> None:
    expected = StaticContributor(id="inline", type="static", priority=0, content="Be kind.")
    assert added("").agent.system_prompt.contributors == [expected]


def test_an_empty_system_prompt_mapping_has_date_and_environment() -> None:
    agent = read("systemPrompt: {}\nllm: {provider: openai, model: m}\n").agent
    assert [(it.id, it.priority, it.enabled) for it in agent.system_prompt.contributors] == [
        ("date", 10, True), ("env", 15, True), ("resources", 20, False),
    ]  # fmt: skip


def test_null_is_absent_everywhere() -> None:
    agent = added("sessions: {maxSessions: null}\nmcpServers: ~\ntools:\nunknown: null\n").agent
    assert (agent.sessions.max_sessions, agent.mcp_servers, agent.tools) == (100, {}, None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sessions: {maxSessions: 0}", f"3: sessions.maxSessions: found 0, expected {INT}"),
        ("sessions: {maxSessions: -5}", f"3: sessions.maxSessions: found -5, expected {INT}"),
        ("sessions: {maxSessions: 1.5}", f"3: sessions.maxSessions: found 1.5, expected {INT}"),
        ("sessions: {maxSessions: true}", f"3: sessions.maxSessions: found true, expected {INT}"),
        ("sessions: {maxSessions: '100'}", f"3: sessions.maxSessions: found '100', expected {INT}, without quotes"),
        ("sessions: {sessionTTL: 1e400}", f"3: sessions.sessionTTL: found inf, expected {INT}"),
        (
            "sessions: {sessionTTL: 99999999999999999999}",
            f"3: sessions.sessionTTL: found 99999999999999999999, expected {INT}",
        ),
        ("sessions: {sessionTtl: 5}", "3: sessions.sessionTtl: found an unknown key, did you mean sessionTTL?"),
        ("sessions: {zzz: 5}", "3: sessions.zzz: found an unknown key, expected one of maxSessions, sessionTTL"),
        ("sessions: 5", "3: sessions: found 5, expected a mapping"),
        ("sessions: []", "3: sessions: found an empty list, expected a mapping"),
        ("greeting: [a]", "3: greeting: found a list, expected a text of at most 500 characters"),
        ("greeting: 5", "3: greeting: found 5, expected a text of at most 500 characters; put it in quotes"),
        ("tools: {}", "3: tools: found an empty mapping, expected a list of mappings"),
        ("tools: [x]", "3: tools[0]: found 'x', expected a mapping"),
        ("tools: [{}]", f"3: tools[0].type: missing, expected {TEXT}"),
        ("hooks:\n  - ~", "4: hooks[0]: found nothing, expected a mapping"),
        ("mcpServers: {a: 5}", "3: mcpServers.a: found 5, expected a mapping"),
        ("mcpServers:\n  a:\n    url: x", "4: mcpServers.a.type: missing, expected one of stdio, sse, http"),
        (
            "mcpServers:\n  a:\n    type: htp",
            "5: mcpServers.a.type: found 'htp', expected one of stdio, sse, http, did you mean http?",
        ),
        ("mcpServers:\n  a:\n    type: 5", "5: mcpServers.a.type: found 5, expected one of stdio, sse, http"),
        ("mcpServers:\n  stdio:\n    type: stdio", f"4: mcpServers.stdio.command: missing, expected {TEXT}"),
        (
            "mcpServers:\n  a:\n    type: stdio\n    command: x\n    stdio: y",
            (
                "7: mcpServers.a.stdio: found an unknown key, expected one of "
                "enabled, timeout, connectionMode, type, command, args, env"
            ),
        ),
        (
            "mcpServers:\n  a b: {type: sse, url: composio-url}",
            f"4: mcpServers.'a b'.url: found 'composio-url', expected {URL}",
        ),
        (
            "mcpServers: {a: {type: sse, url: 'http://h:99999/'}}",
            f"3: mcpServers.a.url: found 'http://h:99999/', expected {URL}",
        ),
        (
            "mcpServers: {a: {type: stdio, command: x, timeout: never}}",
            f"3: mcpServers.a.timeout: found 'never', expected {INT}",
        ),
        (
            "mcpServers: {a: {type: stdio, command: x, args: [5]}}",
            "3: mcpServers.a.args[0]: found *** (a number), expected a text; put it in quotes",
        ),
        (
            "mcpServers: {a: {type: stdio, command: x, env: {A: true}}}",
            "3: mcpServers.a.env.A: found *** (true or false), expected a text; put it in quotes",
        ),
        (
            "mcpServers: {a: {type: stdio, command: x, args: y}}",
            "3: mcpServers.a.args: found ***, expected a list of texts",
        ),
        ("permissions: {mode: auto}", "3: permissions.mode: found 'auto', expected one of manual, auto-approve"),
        (
            "permissions: {toolPolicies: {alwaysAllow: x}}",
            "3: permissions.toolPolicies.alwaysAllow: found 'x', expected a list of texts",
        ),
        ("memories: {enabled: 'yes'}", "3: memories.enabled: found 'yes', expected true or false"),
        (
            "compaction: {thresholdPercent: 90}",
            "3: compaction.thresholdPercent: found 90, expected a number from 0.1 to 1",
        ),
        (
            "compaction: {thresholdPercent: .nan}",
            "3: compaction.thresholdPercent: found nan, expected a number from 0.1 to 1",
        ),
        (
            "resources: [{type: filesystem, paths: []}]",
            "3: resources[0].paths: found an empty list, expected a list of texts",
        ),
        (
            "resources: [{type: filesystem, paths: [a], maxDepth: 11}]",
            "3: resources[0].maxDepth: found 11, expected a whole number from 1 to 10",
        ),
        (
            "logger: {level: warning}",
            "3: logger.level: found 'warning', expected one of debug, info, warn, error, silly, did you mean warn?",
        ),
        (
            "logger: {transports: [{type: file}]}",
            "3: logger.transports[0].path: missing, expected the file for the log's lines",
        ),
        ("sojourn: {busy: drop}", "3: sojourn.busy: found 'drop', expected one of queue, reject, steer, interrupt"),
        ("sojourn: {maxInbox: 0}", "3: sojourn.maxInbox: found 0, expected a whole number greater than 0"),
        ("sojourn: {tools: {a: {idempotent: 1}}}", "3: sojourn.tools.a.idempotent: found 1, expected true or false"),
        ("sojourn: {admissionWait: -1}", "3: sojourn.admissionWait: found -1, expected a whole number, 0 or greater"),
        ("storage: {database: {}}", "3: storage.database.type: missing, expected one of in-memory, sqlite, postgres"),
        (
            "storage: {database: {type: sqlite, path: data/}}",
            "3: storage.database.path: found 'data/', expected a file; for none, write type: in-memory",
        ),
        ("storage: {database: {type: postgres}}", "3: storage.database.url: missing, expected the database's URL"),
        ("agentCard: {name: a}", f"3: agentCard.description: missing, expected {TEXT}"),
        ("agentId: ' '", f"3: agentId: found ' ', expected {TEXT}"),
        (
            "prompts:\n  - {type: inline, id: No, prompt: x}",
            "4: prompts[0].id: found 'No', expected at most 64 small letters and digits, in words joined by -",
        ),
        (
            "prompts:\n  - {type: inline, id: a, prompt: x}\n  - {type: inline, id: a, prompt: y}",
            "5: prompts[1].id: found 'a' a second time (first on line 4), expected an id of its own",
        ),
    ],
)
def test_a_wrong_value_is_said_with_line_key_value_and_what_is_allowed(text: str, said: str) -> None:
    assert said in problems_added(text + "\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("systemPrompt: ''", f"1: systemPrompt: found '', expected {TEXT}"),
        (
            "systemPrompt: 5",
            "1: systemPrompt: found 5, expected a text, or a mapping with contributors; put it in quotes",
        ),
        (
            "systemPrompt: {contributors: []}",
            "1: systemPrompt.contributors: found an empty list, expected a list of mappings",
        ),
        (
            "systemPrompt:\n  contributors:\n    - {id: a, type: statc}",
            (
                "3: systemPrompt.contributors[0].type: found 'statc', expected one of "
                "static, dynamic, file, did you mean static?"
            ),
        ),
        (
            "systemPrompt:\n  contributors:\n    - {id: a, type: static, priority: 0}",
            f"3: systemPrompt.contributors[0].content: missing, expected {TEXT}",
        ),
        (
            "systemPrompt:\n  contributors:\n    - {id: a, type: file, priority: 0,\n       files: [/x, docs/x.md]}",
            (
                "4: systemPrompt.contributors[0].files[1]: found 'docs/x.md', expected an absolute path; "
                "begin it with ${{sojourn.agent_dir}}/"
            ),
        ),
        (
            (
                "systemPrompt:\n  contributors:\n    - {id: a, type: static, priority: 0, content: x}\n"
                "    - {id: a, type: dynamic, source: date, priority: 1}"
            ),
            "4: systemPrompt.contributors[1].id: found 'a' a second time (first on line 3), expected an id of its own",
        ),
        ("llm: {provider: openai}", f"1: llm.model: missing, expected {TEXT}"),
        ("llm:\n  provider:\n  model: x", f"2: llm.provider: missing, expected one of {', '.join(PROVIDERS)}"),
        ("llm: {provider: litellm, model: x}", "1: llm.baseURL: missing, expected the URL where litellm answers"),
        (
            "llm: {provider: openai-compatible, model: x}",
            "1: llm.baseURL: missing, expected the URL where openai-compatible answers",
        ),
        (
            "llm: {provider: openrouter, model: gpt-5}",
            "1: llm.model: found 'gpt-5', expected an id with a /, such as openai/gpt-5",
        ),
        ("llm: {temperature: 2}", "1: llm.temperature: found 2, expected a number from 0 to 1"),
        ("llm: {base_url: x}", "1: llm.base_url: found an unknown key, did you mean baseURL?"),
        ("llm: {apiKey: [x]}", "1: llm.apiKey: found a list, expected a text"),
        ("llm: {apiKey: 5}", "1: llm.apiKey: found *** (a number), expected a text; put it in quotes"),
    ],
)
def test_the_required_sections_are_checked(text: str, said: str) -> None:
    assert said in problems(text + "\n")


def test_what_a_missing_indent_swallows_is_not_shown() -> None:
    [problem] = [
        it for it in problems("llm:\n  provider: openai\n    apiKey k-secret\n  model: m\n") if "provider" in it
    ]
    assert problem.startswith("2: llm.provider: found a text of 2 lines, expected one of")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_provider_may_have_a_url_of_its_own(provider: str) -> None:
    text = f"llm: {{provider: {provider}, model: a/b, apiKey: k, baseURL: 'http://127.0.0.1:1/v1'}}\n"
    assert read(PROMPT + text).agent.llm.base_url == "http://127.0.0.1:1/v1"


def test_numbers_of_the_model_may_stand_in_quotes() -> None:
    llm = read(PROMPT + "llm: {provider: openai, model: m, maxInputTokens: '1000', maxIterations: ' 7 '}\n").agent.llm
    assert (llm.max_input_tokens, llm.max_iterations) == (1000, 7)


def test_a_variable_where_none_counts_is_warned_of() -> None:
    text = (
        'llm: {provider: openai, model: $MODEL, apiKey: k}\nstorage: {database: {type: sqlite, path: "${HOME}/a.db"}}\n'
    )
    said = "found what looks like a variable; variables do not count here, so it is taken as it is written"
    assert [(it.key, it.text) for it in read(PROMPT + text).warnings] == [
        ("llm.model", said), ("storage.database.path", said),
    ]  # fmt: skip


def test_an_unknown_model_is_no_error() -> None:
    assert read(PROMPT + "llm: {provider: openai, model: gpt-99-ultra, apiKey: k}\n").warnings == ()


@pytest.mark.parametrize(
    ("key", "environ", "said"),
    [
        ("", {}, "2 llm.apiKey: missing, so the model cannot be asked; write the name of a variable, such as $API_KEY"),
        (", apiKey: ''", {}, "2 llm.apiKey: found nothing in it (an empty text), so the model cannot be asked"),
        (
            ", apiKey: $K",
            {"K": " "},
            "2 llm.apiKey: found nothing in it (the variable K is empty), so the model cannot be asked",
        ),
        (", apiKey: $K", {}, "2 llm.apiKey: the variable K is not set, so nothing stands in its place; set it"),
    ],
)
def test_a_missing_key_is_one_warning(key: str, environ: dict[str, str], said: str) -> None:
    found = read(PROMPT + f"llm: {{provider: openai, model: m{key}}}\n", environ).warnings
    assert [f"{it.line} {it.key}: {it.text}" for it in found] == [said]


@pytest.mark.parametrize("provider", ["openai-compatible", "litellm"])
def test_a_server_of_ones_own_needs_no_key(provider: str) -> None:
    assert read(PROMPT + f"llm: {{provider: {provider}, model: m, baseURL: 'http://h'}}\n").warnings == ()


#: A value for each part of the file that is accepted and has no effect.
VALUES = {
    "agentFile": "{discoverInCwd: true}",
    "image": "'@x/y'",
    "memories": "{}",
    "tools": "[{type: a}, {type: b}, {type: a}]",
    "hooks": "[{type: request-logger}]",
    "resources": "[{type: blob}]",
    "prompts": "[{type: file, file: /x}]",
    "elicitation": "{enabled: true}",
    "compaction": "{type: noop}",
    "telemetry": "{x: 1}",
    "storage.cache": "{type: redis}",
    "storage.blob": "{type: local}",
    "llm.allowedMediaTypes": "[image/png]",
}


@pytest.mark.parametrize("path", WITHOUT_EFFECT, ids=".".join)
def test_what_has_no_effect_is_warned_of_once(path: tuple[str, ...]) -> None:
    section, *inner = path
    value = f"{{{inner[0]}: {VALUES['.'.join(path)]}}}" if inner else VALUES[section]
    text = f"{section}: {value}\n"
    if section == "llm":
        value = value.replace("{", "{provider: openai, model: m, apiKey: k, ")
        found = read(PROMPT + f"llm: {value}\n").warnings
    else:
        found = added(text).warnings
    [warning] = found
    assert warning.key == ".".join(path)
    assert warning.text.startswith("has no effect yet")


def test_tools_and_hooks_are_named_by_their_types() -> None:
    assert [it.split(":")[1] for it in warnings_added(f"tools: {VALUES['tools']}\nhooks: {VALUES['hooks']}\n")] == [
        " has no effect yet (a, b)", " has no effect yet (request-logger)",
    ]  # fmt: skip


def test_a_contributor_and_a_transport_without_effect_are_warned_of() -> None:
    text = (
        "systemPrompt: {contributors: [{id: r, type: dynamic, source: resources, priority: 0}]}\n"
        "llm: {provider: openai, model: m, apiKey: k}\n"
        "logger: {transports: [{type: upstash, token: t}, {type: console}]}\n"
    )
    assert [it.key for it in read(text).warnings] == [
        "systemPrompt.contributors[0].source",
        "logger.transports[0].type",
    ]


@pytest.mark.parametrize("mode", ["manual", "auto-approve"])
def test_permissions_take_effect_and_need_no_warning(mode: str) -> None:
    text = f"permissions: {{mode: {mode}, timeout: 5, allowedToolsStorage: memory}}\n"
    assert warnings_added(text + "mcpServers: {a: {type: stdio, command: x}}\n") == []


def test_postgres_loads_and_says_that_it_comes_later() -> None:
    text = "storage: {database: {type: postgres, connectionString: $DB}}\n"
    [warning] = warnings_added(text, {"DB": "postgres://u:p@h/d"})
    assert warning.startswith("3 storage.database.type: PostgreSQL comes later")


def test_a_setting_that_a_database_does_not_have_is_warned_of() -> None:
    assert warnings_added("storage: {database: {type: sqlite, pth: a.db}}\n") == [
        "3 storage.database.pth: has no effect: it is no setting of this type of database, did you mean path?"
    ]


@pytest.mark.parametrize(
    ("provider", "near"),
    [
        ("ollama", "openai-compatible, with its address as baseURL?"),
        ("LM Studio", "openai-compatible, with its address as baseURL?"),
        ("azure", "openai-compatible, with its address as baseURL?"),
        ("together.ai", "openai-compatible, with its address as baseURL?"),
        ("claude", "anthropic?"),
        ("opnai", "openai?"),
    ],
)
def test_a_provider_of_another_name_is_told_which_one_is_meant(provider: str, near: str) -> None:
    [problem] = problems(PROMPT + f"llm: {{provider: {provider}, model: m}}\n")
    assert problem.endswith(f", did you mean {near}")


def test_what_looks_like_a_variable_in_a_prompt_is_warned_of() -> None:
    llm = "llm: {provider: openai, model: m, apiKey: k}\n"
    [plain] = read("systemPrompt: You work for $COMPANY.\n" + llm).warnings
    assert (plain.line, plain.key) == (1, "systemPrompt")
    assert plain.text == "found $COMPANY; variables do not count here, so the model is told that as it is written"
    pieces = "systemPrompt:\n  contributors:\n    - {id: a, type: static, priority: 1, content: 'ask ${TEAM}'}\n"
    [piece] = read(pieces + llm).warnings
    assert (piece.line, piece.key) == (3, "systemPrompt.contributors[0].content")
    assert read("systemPrompt: It costs $5 or $x, US$ and $PATH{}.\n" + llm).warnings == ()
