"""`sojourn check` and `sojourn init`: what a file means, and a first one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sojourn.cli.init import PROPOSED, TOOLS
from sojourn.config import providers
from sojourn.config.schema import PROVIDERS
from tests.cli.kit import invoke, printed, terminal

WHOLE = """\
llm: {provider: openai, model: gpt-5-mini, apiKey: $MY_KEY}
systemPrompt: be brief
storage: {database: {type: sqlite, path: chat.db}}
hooks: [{type: content-policy}]
"""


# -- check


def test_a_good_file_is_printed_as_it_counts_without_its_secrets(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-abcdef0123456789")
    Path("agent.yml").write_text(WHOLE)
    done = invoke("check")
    assert done.exit_code == 0
    assert "maxSessions: 100" in done.stdout
    assert "abcdef" not in done.output
    assert "warning: agent.yml:4: hooks: " in done.stderr
    assert f"conversations are kept in {Path.cwd() / 'chat.db'}" in done.stderr


def test_every_problem_has_its_line(home: Path) -> None:
    Path("bad.yml").write_text(WHOLE.replace("gpt-5-mini", "''") + "sessions: {maxSessions: '100'}\nnonsense: 1\n")
    done = invoke("check", "bad.yml")
    assert (done.exit_code, done.stdout) == (1, "")
    assert [line.split(": ")[:2] for line in done.stderr.splitlines()] == [
        ["error", "bad.yml:1"], ["error", "bad.yml:5"], ["error", "bad.yml:6"],
    ]  # fmt: skip
    shape = json.loads(invoke("check", "bad.yml", "--json").stdout)
    assert (shape["ok"], shape["file"], len(shape["problems"])) == (False, "bad.yml", 3)


def test_check_for_programs(home: Path) -> None:
    Path("agent.yml").write_text(WHOLE)
    shape = printed("check", "--json")
    assert list(shape) == ["ok", "file", "problems", "warnings", "runs", "storage", "configuration"]
    assert shape["configuration"]["sessions"] == {"maxSessions": 100, "sessionTTL": 3_600_000}
    assert {"file", "line", "key", "text"} == set(shape["warnings"][0])


def test_what_this_machine_lacks_is_a_warning_and_no_fault_of_the_file(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "k-1")
    monkeypatch.setitem(providers._LIBRARIES, "anthropic", ("anthropic", "no_such_parent.package"))
    Path("agent.yml").write_text(WHOLE.replace("openai", "anthropic").replace("chat.db", "far/away/chat.db"))
    done = invoke("check")
    assert done.exit_code == 0
    needs = "anthropic needs a library that is not installed; run: pip install 'sojourn[anthropic]'"
    assert f"warning: agent.yml: llm.provider: {needs}\n" in done.stderr
    folder = Path.cwd() / "far" / "away"
    assert f"warning: agent.yml: storage.database.path: there is no folder {folder}; make it first\n" in done.stderr
    assert "agent.yml is valid, but cannot run here as it is; " in done.stderr
    shape = printed("check", "--json")
    assert (shape["ok"], shape["runs"], shape["problems"]) == (True, False, [])
    assert [warning["key"] for warning in shape["warnings"][1:]] == ["llm.provider", "storage.database.path"]
    told = invoke("init", "other.yml", "--yes", "--provider", "anthropic")
    assert needs in told.stderr


@pytest.mark.parametrize(("set_to", "runs"), [("k-1", True), ("", False)])
def test_a_file_without_its_key_cannot_run(
    home: Path, monkeypatch: pytest.MonkeyPatch, set_to: str, *, runs: bool
) -> None:
    monkeypatch.setenv("MY_KEY", set_to)
    Path("agent.yml").write_text(WHOLE)
    assert printed("check", "--json")["runs"] is runs


def test_without_a_file_check_says_how_to_get_one(home: Path) -> None:
    done = invoke("check")
    assert done.exit_code == 1
    assert "error: there is no agent.yml in this folder" in done.stderr
    assert invoke("check", "nowhere.yml").exit_code == 1


def test_a_terminal_sees_the_file_in_colour(home: Path) -> None:
    Path("agent.yml").write_text(WHOLE)
    with terminal(home, "check", more={"NO_COLOR": "", "COLORTERM": "truecolor"}) as seen:
        assert seen.end() == 0
    assert "\x1b[" in seen.raw
    assert "maxSessions" in seen.seen


# -- init


def test_something_is_proposed_for_every_provider() -> None:
    assert tuple(PROPOSED) == PROVIDERS


@pytest.mark.parametrize("provider", PROVIDERS)
def test_what_is_proposed_can_be_used(home: Path, provider: str) -> None:
    done = invoke("init", "--yes", "--provider", provider)
    assert done.exit_code == 0, done.stderr
    shape = printed("check", "--json")
    assert shape["configuration"]["llm"]["provider"] == provider
    assert all("variable" in warning["text"] for warning in shape["warnings"])


@pytest.mark.parametrize("provider", ["openai-compatible", "litellm"])
def test_no_key_is_proposed_for_a_server_of_ones_own(home: Path, provider: str) -> None:
    assert invoke("init", "--yes", "--provider", provider).exit_code == 0
    assert "\n  # apiKey: $SERVER_API_KEY\n" in Path("agent.yml").read_text()
    assert "OPENAI" not in Path("agent.yml").read_text()
    shape = printed("check", "--json")
    assert ("apiKey" in shape["configuration"]["llm"], shape["warnings"], shape["runs"]) == (False, [], True)


@pytest.mark.parametrize("provider", ["vertex", "bedrock"])
def test_a_cloud_is_proposed_a_variable_for_its_key(home: Path, provider: str) -> None:
    assert invoke("init", "--yes", "--provider", provider).exit_code == 0
    assert f"\n  apiKey: ${PROPOSED[provider][1]}\n" in Path("agent.yml").read_text()


@pytest.mark.parametrize("tools", TOOLS)
def test_tools_and_storage_can_be_chosen(home: Path, tools: str) -> None:
    arguments = ["--tools", tools, "--storage", "./my chats.db", "--system-prompt", 'Say "hi" to ${{x}} $HOME: #1']
    done = invoke("init", "my.yml", "--yes", *arguments[:4])
    assert done.exit_code == 0, done.stderr
    shape = printed("check", "my.yml", "--json")
    assert shape["storage"].endswith("my%20chats.db")
    assert bool(shape["configuration"]["mcpServers"]) is (tools != "none")


def test_a_prompt_is_taken_as_it_is(home: Path) -> None:
    prompt = 'Say "hi" \\ $HOME: #1 ünï - {a: b}'
    assert invoke("init", "--yes", "--system-prompt", prompt).exit_code == 0
    contributors = printed("check", "--json")["configuration"]["systemPrompt"]["contributors"]
    assert contributors[0]["content"] == prompt


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--provider", "nobody"], "--provider: found 'nobody', expected one of openai"),
        (["--tools", "all"], "--tools: found 'all', expected one of none, files, web"),
        (["--model", " "], "--model: found ' ', expected text on one line"),
        (["--key-variable", "sk-proj-0123456789"], "--key-variable: found something else, expected the name"),
        (["--key-variable", "sk_0123456789abc"], "--key-variable: found something else, expected the name"),
    ],
)
def test_an_answer_that_cannot_be_leaves_nothing_behind(home: Path, arguments: list[str], sentence: str) -> None:
    done = invoke("init", "--yes", *arguments)
    assert done.exit_code == 2
    assert sentence in done.stderr
    assert "0123456789" not in done.output
    assert list(Path().iterdir()) == []


def test_a_file_that_could_not_be_used_is_not_written(home: Path) -> None:
    done = invoke("init", "--yes", "--system-prompt", "read ${{nothing}}")
    assert done.exit_code == 1
    assert list(Path().iterdir()) == []


def test_init_replaces_nothing_without_force(home: Path) -> None:
    Path("agent.yml").write_text("mine")
    assert invoke("init", "--yes").exit_code == 1
    assert Path("agent.yml").read_text() == "mine"
    assert invoke("init", "--yes", "--force").exit_code == 0
    assert Path("agent.yml").read_text() != "mine"


def test_init_without_a_terminal_wants_yes(home: Path) -> None:
    done = invoke("init")
    assert done.exit_code == 2
    assert "give --yes" in done.stderr


def test_init_asks_in_a_terminal(home: Path) -> None:
    with terminal(home, "init", "--tools", "none") as seen:
        seen.wait_for("Who runs the model")
        seen.type("nobody\n")
        seen.wait_for("found 'nobody'")
        seen.type("anthropic\n")
        seen.wait_for("Model (claude")
        seen.type("\n")
        seen.wait_for("Variable of the environment")
        seen.type("sk-ant-0123456789\n")
        seen.wait_for("never the key itself")
        seen.type("$MY_KEY\n")
        seen.wait_for("told first")
        seen.type("Be brief.\n")
        seen.wait_for("Database file")
        seen.type("\n")
        assert seen.end() == 0
    llm = printed("check", "--json")["configuration"]["llm"]
    assert (llm["provider"], llm["model"]) == ("anthropic", PROPOSED["anthropic"][0])
    assert "apiKey: $MY_KEY\n" in Path("agent.yml").read_text()


@pytest.mark.parametrize(("key", "code"), [("\x03", 130), ("\x04", 130)])
def test_leaving_in_the_middle_leaves_nothing_behind(home: Path, key: str, code: int) -> None:
    with terminal(home, "init") as seen:
        seen.wait_for("Who runs the model")
        seen.type("\n")
        seen.wait_for("Model (")
        seen.type(key)
        assert seen.end() == code
    assert "Traceback" not in seen.seen
    assert list(Path().iterdir()) == []
