"""The MCP servers of an agent.yml that are child processes."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

import pytest
from pydantic_ai import Agent
from pydantic_ai.exceptions import ToolFailed
from pydantic_ai.messages import BinaryImage

from sojourn.config.schema import StdioServer
from sojourn.engine.agent import PydanticAIEngine
from sojourn.engine.mcp import MCPServers
from sojourn.engine.mcp_child import INHERITED
from sojourn.engine.mcp_link import Pace
from sojourn.errors import MCPServerUnavailable
from tests.engine.core import Core, Line, Script, said
from tests.engine.mcp_core import QUICK, Rough, alive, until, using


@pytest.fixture
def rough(tmp_path: Path) -> Rough:
    return Rough(tmp_path)


async def test_a_run_calls_the_tools_of_a_child_process_which_ends_with_the_servers(
    rough: Rough, tmp_path: Path
) -> None:
    lines: list[Line] = [[("mcp--files--echo", {"words": "hi"})], "Done.", [("mcp--files--fail", {})], "It is full."]
    async with using({"files": rough.server()}, tmp_path) as used:
        engine = PydanticAIEngine(Agent(Script(*lines), toolsets=used.servers.toolsets))
        await engine.open()
        core = Core(engine)
        assert said(await core.send("a")) == "Done."
        assert said(await core.send("b")) == "It is full."
        await engine.close()
        [pid] = rough.pids
        assert alive(pid)
    assert not alive(pid)
    results = [message for message in core.messages() if message.role == "tool"]
    assert [result.outcome for result in results] == ["success", "failed"]
    assert results[0].text == "hi"
    assert "the disk is full" in results[1].text


async def test_a_disabled_server_is_not_touched(rough: Rough, tmp_path: Path) -> None:
    disabled = rough.server().model_copy(update={"enabled": False})
    async with using({"files": disabled}, tmp_path) as used:
        assert await used.names() == []
    assert rough.notes == []


async def test_a_child_gets_a_safe_environment_its_own_variables_and_the_folder_of_the_file(
    rough: Rough, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("TMPDIR", "/tmp")
    async with using({"s": rough.server(env={"MINE": "yes"})}, tmp_path) as used:
        names = set((await used.call("mcp--s--environment")).split())
        assert {"PATH", "TMPDIR", "MINE"} <= names
        assert names - {"MINE"} <= {*INHERITED, "PWD", "SHLVL", "_", "LC_CTYPE"}
        assert await used.call("mcp--s--variable", name="MINE") == "yes"
        assert await used.call("mcp--s--folder") == os.path.realpath(tmp_path)  # noqa: ASYNC240


async def test_what_a_child_complains_about_is_logged_without_configured_values_and_not_shown(
    rough: Rough, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG, logger="sojourn.mcp")
    async with using({"s": rough.server(env={"TOKEN": "t0p-s3cret"})}, tmp_path) as used:
        await used.call("mcp--s--complain", words="no way with t0p-s3cret")
        await until(lambda: "no way" in caplog.text)
    assert "s: no way with ***" in caplog.messages
    assert "t0p-s3cret" not in caplog.text
    assert capfd.readouterr() == ("", "")


async def test_results_come_as_pydantic_ai_gives_them(rough: Rough, tmp_path: Path) -> None:
    async with using({"s": rough.server()}, tmp_path) as used:
        assert await used.call("mcp--s--structured") == {"celsius": 21}
        assert await used.call("mcp--s--resource") == "inside"
        assert await used.call("mcp--s--echo", words='{"a": 1}') == {"a": 1}
        words, picture = await used.call("mcp--s--picture")
        assert words == "Look:"
        assert isinstance(picture, BinaryImage)
        assert picture.media_type == "image/png"


async def test_a_failure_is_told_in_the_servers_words(rough: Rough, tmp_path: Path) -> None:
    async with using({"s": rough.server()}, tmp_path) as used:
        with pytest.raises(ToolFailed, match=r"^the disk is full$"):
            await used.call("mcp--s--fail")
        with pytest.raises(ToolFailed, match="not valid MCP; the outcome is unknown"):
            await used.call("mcp--s--nonsense")


async def test_what_a_server_says_about_a_tool_is_kept_and_a_tool_named_twice_is_there_once(
    rough: Rough, tmp_path: Path
) -> None:
    async with using({"s": rough.server()}, tmp_path) as used:
        tools = await (await used.run()).get_tools(used.context)
        definition = tools["mcp--s--echo"].tool_def
        assert definition.description == "Says it."
        assert definition.metadata is not None
        assert definition.metadata["annotations"]["readOnlyHint"] is True
        assert definition.metadata["meta"] == {"colour": "teal"}
        assert (definition.metadata["server"], definition.metadata["tool"]) == ("s", "echo")
        dotted = [name for name in tools if "read_file" in name]
        assert len(dotted) == 2
        assert {await used.call(name) for name in dotted} == {"dot", "slash"}


@pytest.mark.parametrize("method", ["elicitation/create", "sampling/createMessage"])
async def test_a_server_that_asks_for_something_is_answered_with_an_error(
    rough: Rough, tmp_path: Path, method: str
) -> None:
    async with using({"s": rough.server()}, tmp_path) as used:
        assert '"error"' in await used.call("mcp--s--ask", method=method)


# -- servers that are not there


@pytest.mark.parametrize("mode", ["leave", "rubbish"])
async def test_a_lenient_server_that_cannot_be_used_costs_its_tools_and_is_reported_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: str
) -> None:
    bad, good = Rough(tmp_path, mode, name="bad"), Rough(tmp_path, name="good")
    async with using({"bad": bad.server(), "good": good.server()}, tmp_path) as used:
        await until(lambda: len(bad.pids) > 2)
        names = await used.names()
        assert names
        assert all(name.startswith("mcp--good--") for name in names)
    assert [message.split(":")[0] for message in caplog.messages] == ["MCP server bad is missing, and so are its tools"]
    assert not any(map(alive, bad.pids))


async def test_a_lenient_server_that_says_nothing_is_waited_for_a_short_time_only(tmp_path: Path) -> None:
    mute = Rough(tmp_path, "mute")
    async with using({"mute": mute.server(timeout=600_000)}, tmp_path, Pace(grace=0.05)) as used:
        assert await used.names() == []
    assert not any(map(alive, mute.pids))


@pytest.mark.parametrize(
    ("mode", "why"),
    [("leave", "exit code 3"), ("rubbish", "not valid MCP"), ("mute", "no answer"), ("mute-list", "no answer")],
)
async def test_a_strict_server_that_cannot_be_used_fails_the_opening_and_everything_is_stopped(
    tmp_path: Path, mode: str, why: str
) -> None:
    bad, good = Rough(tmp_path, mode, name="bad"), Rough(tmp_path, name="good")
    timeout = 400 if mode.startswith("mute") else 30_000
    opened = MCPServers({"good": good.server(), "bad": bad.server(timeout=timeout, strict=True)}, base=tmp_path)
    async with asyncio.timeout(60):
        with pytest.raises(MCPServerUnavailable, match=rf"^mcpServers\.bad: command '.*' cannot be used: .*{why}"):
            await opened.open()
    assert not any(map(alive, [*bad.pids, *good.pids]))


@pytest.mark.parametrize(("command", "folder"), [("/no/such/program", "."), (sys.executable, "no-such-folder")])
async def test_a_strict_server_that_cannot_be_started_says_what_was_not_found(
    tmp_path: Path, command: str, folder: str
) -> None:
    server = StdioServer(
        type="stdio",
        command=command,
        args=["--key", "secret"],
        connectionMode="strict",  # type: ignore[call-arg]
    )
    with pytest.raises(MCPServerUnavailable, match="no such file or directory") as caught:
        await MCPServers({"s": server}, base=tmp_path / folder).open()
    assert "secret" not in str(caught.value)


async def test_an_opening_that_is_cancelled_stops_what_it_started(tmp_path: Path) -> None:
    mute, good = Rough(tmp_path, "mute", name="mute"), Rough(tmp_path, name="good")
    opened = MCPServers({"mute": mute.server(strict=True), "good": good.server()}, base=tmp_path)
    opening = asyncio.create_task(opened.open())
    await until(lambda: mute.pids and good.count(method="tools/list"))
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert not any(map(alive, [*mute.pids, *good.pids]))


async def test_closing_twice_or_unopened_is_harmless_and_open_again_is_possible(rough: Rough, tmp_path: Path) -> None:
    servers = MCPServers({"s": rough.server()}, base=tmp_path)
    await servers.close()
    for _ in range(2):
        await servers.open()
        await servers.close()
        await servers.close()
    assert len(rough.pids) == 2


# -- what goes wrong in the middle


async def test_a_killed_child_fails_its_calls_at_once_and_the_next_run_has_a_new_one(
    rough: Rough, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with using({"s": rough.server()}, tmp_path) as used:
        calls = [asyncio.create_task(used.call("mcp--s--wait", name="never")) for _ in range(3)]
        await until(lambda: rough.count(waiting="never") == 3)
        os.kill(rough.pids[0], signal.SIGKILL)
        for failure in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(failure, ToolFailed)
            assert "SIGKILL; the outcome is unknown" in failure.message
        assert await used.call("mcp--s--echo", words="again") == "again"
        assert len(rough.pids) == 2
    assert [record.getMessage().partition(",")[0] for record in caplog.records] == [
        "MCP server s is missing",
        "MCP server s is back",
    ]


async def test_a_killed_child_whose_children_hold_its_pipes_open_is_found_dead_too(
    rough: Rough, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sojourn.engine.mcp_child.TERMINATION", 0.1)
    async with using({"s": rough.server()}, tmp_path) as used:
        grandchild = int(await used.call("mcp--s--spawn"))
        call = asyncio.create_task(used.call("mcp--s--wait", name="never"))
        await until(lambda: rough.count(waiting="never"))
        os.kill(rough.pids[0], signal.SIGKILL)
        with pytest.raises(ToolFailed, match="outcome is unknown"):
            await call
        await until(lambda: not alive(grandchild))


async def test_a_call_that_was_not_sent_is_sent_over_a_new_connection_and_one_that_was_is_never_repeated(
    rough: Rough, tmp_path: Path
) -> None:
    async with using({"s": rough.server()}, tmp_path) as used:
        run = await used.run()
        with pytest.raises(ToolFailed, match="outcome is unknown"):
            await used.call("mcp--s--die", run)
        # The run still has the tools that it began with, though the server is not there at this moment.
        assert await used.call("mcp--s--echo", run, words="later") == "later"
    assert rough.count(tool="die") == 1
    assert rough.count(tool="echo") == 1


async def test_a_call_to_a_server_that_stays_away_says_that_it_was_not_sent(rough: Rough, tmp_path: Path) -> None:
    server = rough.server()
    async with using({"s": server}, tmp_path) as used:
        run = await used.run()
        server.args.append("leave")
        with pytest.raises(ToolFailed, match="outcome is unknown"):
            await used.call("mcp--s--die", run)
        with pytest.raises(ToolFailed, match="the call was not sent"):
            await used.call("mcp--s--echo", run, words="no")
        assert await used.names() == []
    assert rough.count(tool="echo") == 0


async def test_a_call_that_takes_too_long_fails_and_the_connection_stays(rough: Rough, tmp_path: Path) -> None:
    async with using({"s": rough.server(timeout=700)}, tmp_path) as used:
        with pytest.raises(ToolFailed, match=r"no answer within 0\.7 s; the outcome is unknown"):
            await used.call("mcp--s--wait", name="never")
        await until(lambda: rough.count(method="notifications/cancelled"))
        assert await used.call("mcp--s--echo", words="still") == "still"
    assert len(rough.pids) == 1


async def test_a_child_that_answers_nothing_any_more_is_replaced(tmp_path: Path) -> None:
    rough = Rough(tmp_path, "no-ping")
    async with using({"s": rough.server(timeout=700)}, tmp_path) as used:
        with pytest.raises(ToolFailed, match="outcome is unknown"):
            await used.call("mcp--s--wait", name="never")
        await until(lambda: len(rough.pids) == 2)
        assert await used.call("mcp--s--echo", words="new") == "new"


async def test_a_cancelled_call_is_cancelled_at_the_server_and_harms_nobody_else(rough: Rough, tmp_path: Path) -> None:
    async with using({"s": rough.server()}, tmp_path) as used:
        mine, other = (asyncio.create_task(used.call("mcp--s--wait", name=name)) for name in ("mine", "other"))
        await until(lambda: rough.count(waiting="mine") and rough.count(waiting="other"))
        mine.cancel()
        await until(lambda: rough.count(method="notifications/cancelled") == 1)
        await used.call("mcp--s--release", name="other")
        assert await other == "waited for other"
        assert mine.cancelled()


async def test_a_changed_list_of_tools_is_seen_by_the_next_run(rough: Rough, tmp_path: Path) -> None:
    async with using({"s": rough.server()}, tmp_path) as used:
        run = await used.run()
        await used.call("mcp--s--grow", run, name="extra")
        assert "mcp--s--extra" in await used.names()
        assert "mcp--s--extra" not in await run.get_tools(used.context)


async def test_the_list_of_tools_is_asked_for_once_however_many_runs_there_are(rough: Rough, tmp_path: Path) -> None:
    async with using({"s": rough.server()}, tmp_path) as used:
        for _ in range(5):
            await used.names()
        assert await used.run() is await used.run()
    assert rough.count(method="tools/list") == 1


async def test_many_runs_share_three_servers_and_a_slow_tool_stops_nobody(tmp_path: Path) -> None:
    roughs = {name: Rough(tmp_path, name=name) for name in ("a", "b", "c")}
    async with using({name: rough.server() for name, rough in roughs.items()}, tmp_path) as used:
        slow = asyncio.create_task(used.call("mcp--a--wait", name="slow"))
        calls = [used.call(f"mcp--{name}--echo", words=f"{name}{i}") for i in range(67) for name in roughs]
        assert await asyncio.gather(*calls) == [f"{name}{i}" for i in range(67) for name in roughs]
        assert not slow.done()
        await used.call("mcp--a--release", name="slow")
        await slow
    assert all(len(rough.pids) == 1 for rough in roughs.values())


async def test_a_large_result_comes_whole(rough: Rough, tmp_path: Path) -> None:
    words = "ü" * 1_000_000
    async with using({"s": rough.server()}, tmp_path) as used:
        assert await used.call("mcp--s--echo", words=words) == words


# -- nobody is left behind


async def test_grandchildren_that_ignore_sigterm_end_at_close(
    rough: Rough, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sojourn.engine.mcp_child.TERMINATION", 0.2)
    async with using({"s": rough.server()}, tmp_path) as used:
        grandchild = int(await used.call("mcp--s--spawn"))
        assert alive(grandchild)
    await until(lambda: not alive(grandchild))


async def test_a_child_that_listens_to_nothing_ends_at_close(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sojourn.engine.mcp_child.GOODBYE", 0.1)
    monkeypatch.setattr("sojourn.engine.mcp_child.TERMINATION", 0.1)
    deaf = Rough(tmp_path, "deaf")
    async with using({"s": deaf.server()}, tmp_path) as used:
        assert await used.names()
    assert not any(map(alive, deaf.pids))


PARENT = """
import asyncio, sys
from pathlib import Path
from sojourn.config.schema import StdioServer
from sojourn.engine.mcp import MCPServers
from tests.engine.mcp_core import Rough

async def main():
    folder = Path(sys.argv[1])
    servers = {name: Rough(folder, name, name=name).server() for name in ("deaf", "meek")}
    await MCPServers(servers, base=folder).open()
    print("open", flush=True)
    if sys.argv[2] == "wait":
        await asyncio.sleep(600)
    sys.exit(0)

asyncio.run(main())
"""


async def test_no_child_outlives_its_parent_however_that_ends(tmp_path: Path) -> None:
    async with asyncio.timeout(60):
        await asyncio.gather(*(_end_a_parent(tmp_path, end) for end in (signal.SIGKILL, signal.SIGTERM, None)))


async def _end_a_parent(tmp_path: Path, end: signal.Signals | None) -> None:
    folder = tmp_path / (end.name if end else "exit")
    folder.mkdir()
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, str(folder), "wait" if end else "leave",
        stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert parent.stdout is not None
    assert await parent.stdout.readline() == b"open\n"
    pids = [*Rough(folder, name="deaf").pids, *Rough(folder, name="meek").pids]
    assert len(pids) == 2
    if end is not None:
        parent.send_signal(end)
    await parent.wait()
    await until(lambda: not any(map(alive, pids)))


async def test_a_cancelled_close_ends_the_children_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sojourn.engine.mcp_child.GOODBYE", 600)
    deaf = Rough(tmp_path, "deaf")
    servers = MCPServers({"s": deaf.server()}, base=tmp_path, pace=QUICK)
    await servers.open()
    closing = asyncio.create_task(servers.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await until(lambda: not any(map(alive, deaf.pids)))
