"""The names that a model sees."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from sojourn.engine.mcp_names import server_prefixes, tool_names

texts = st.text(st.sampled_from("ab-_./ü "), max_size=90)


def shown(servers: dict[str, list[str]]) -> dict[str, tuple[str, str]]:
    prefixes = server_prefixes(servers)
    return {
        name: (server, tool)
        for server, tools in servers.items()
        for name, tool in tool_names(prefixes[server], tools).items()
    }


def test_a_plain_name_is_kept() -> None:
    assert shown({"files": ["read_file"]}) == {"mcp--files--read_file": ("files", "read_file")}


def test_what_providers_do_not_take_is_replaced() -> None:
    assert shown({"my files": ["read.file"]}) == {"mcp--my_files--read_file": ("my files", "read.file")}


def test_of_names_that_become_alike_the_one_that_was_so_keeps_it() -> None:
    names = shown({"s": ["a.b", "a/b", "a_b"]})
    assert names["mcp--s--a_b"] == ("s", "a_b")
    assert len(names) == 3


@given(st.dictionaries(texts, st.lists(texts, unique=True, max_size=8), max_size=5))
def test_every_tool_has_a_name_of_its_own_that_every_provider_takes(servers: dict[str, list[str]]) -> None:
    names = shown(servers)
    assert sorted(names.values()) == sorted((server, tool) for server, tools in servers.items() for tool in tools)
    for name in names:
        assert re.fullmatch(r"mcp--[A-Za-z0-9_-]{1,59}", name), name


@given(st.lists(texts, unique=True, max_size=8), st.randoms())
def test_names_do_not_depend_on_the_order_of_the_list(tools: list[str], random: st.DrawFn) -> None:
    shuffled = list(tools)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert tool_names("mcp--s--", tools) == tool_names("mcp--s--", shuffled)
