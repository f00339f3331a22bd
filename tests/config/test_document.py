"""From a YAML text to a tree with lines."""

from __future__ import annotations

from typing import Any

import pytest

from sojourn.config.document import MAX_DEPTH, NO_COLON, TOO_DEEP, parse, resolve


def plain(text: str) -> Any:
    node, problems = parse(text, "f")
    assert problems == []
    return node.plain() if node else None


def told(text: str) -> list[str]:
    return [str(problem) for problem in parse(text, "f")[1]]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"), ("true", True), ("False", False), ("~", None), ("null", None), ("", None), ("-12", -12),
        ("0o17", 15), ("017", 17), ("0x1F", 31), ("1_000", "1_000"), ("1.5", 1.5), ("1e3", 1000.0), (".5", 0.5),
        ("2026-11-22", "2026-11-22"), ("12:30:45", "12:30:45"), ("\u0661", "\u0661"), ("-.inf", float("-inf")),
        ("9" * 5000, float("inf")),
    ],
)  # fmt: skip
def test_a_plain_scalar_means_what_yaml_1_2_says(text: str, value: object) -> None:
    assert resolve(text) == value
    assert type(resolve(text)) is type(value)


def test_quotes_and_tags_make_a_text_of_anything() -> None:
    assert plain("[\"12\", 'true', !!str 12, ! 12, !!int '12']") == ["12", "true", "12", "12", 12]


def test_every_value_knows_the_line_of_its_key() -> None:
    node, _ = parse("a: 1\nb:\n  c: [x,\n    y]\n  d: |\n    text\n\n  e: 2\n", "f")
    assert node is not None
    places: list[tuple[str | int, ...]] = [
        ("a",),
        ("b",),
        ("b", "c"),
        ("b", "c", 0),
        ("b", "c", 1),
        ("b", "d"),
        ("b", "e"),
    ]
    assert [(at.line if (at := node.at(*path)) else None) for path in places] == [1, 2, 3, 3, 4, 5, 8]


def test_lines_are_counted_as_editors_count_them() -> None:
    assert told("a: 1\r\nb: 'x\u2028y'\r\na: 2\r\n") == ["f:3: a: found a second time (first on line 1), expected once"]


def test_a_byte_order_mark_is_no_part_of_the_first_key() -> None:
    assert plain("\ufeffa: 1") == {"a": 1}


def test_anchors_and_merge_keys_fill_in_what_they_name() -> None:
    text = "base: &base {a: 1, b: 2}\nmore: {<<: *base, b: 3}\nmost: {<<: [{c: 4}, *base]}\nsame: *base\n"
    base = {"a": 1, "b": 2}
    assert plain(text) == {"base": base, "more": {"b": 3, "a": 1}, "most": {"c": 4, **base}, "same": base}


def test_what_an_alias_brings_keeps_the_line_where_it_was_written() -> None:
    node, _ = parse("base: &base\n  a: 1\nsame: *base\n", "f")
    assert node is not None
    assert [at.line for path in [("same",), ("same", "a")] if (at := node.at(*path))] == [3, 2]


def test_null_is_absent() -> None:
    assert plain("a:\nb: null\nc: {d: ~, e: 1}\n") == {"c": {"e": 1}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb:\n\t- c\n", "f:3: found a tab, expected spaces: YAML is indented with spaces"),
        ("a: 'x\n\n", "f:1: found a quote that is never closed"),
        ("a: 1\nb: {c: 1\n", "f:2: found a bracket or brace that is never closed"),
        ("a: b: c\n", "f:1: found a second ': ' in a line, expected one; put the text in quotes"),
        ("a: b\n  c: d\n", f"f:2: {TOO_DEEP}"),
        ("a:\n  b: c\n    d: e: f\n", f"f:3: {TOO_DEEP}"),
        ("a:\n  - b: c\n\n      d: e\n", f"f:4: {TOO_DEEP}"),
        ("a\n  b: c\n", f"f:2: {NO_COLON}"),
        ("a: 1\n---\nb: 2\n", "f:2: found a second document (---), expected one"),
        (
            "a: *hunter2\n",
            "f:1: a: found an alias (*) without its anchor (&) above it; put a text that begins with * in quotes",
        ),
        ("a: &a [1, *a]\n", "f:1: a[1]: found an alias of what it stands in itself"),
        ("a: !hunter2 x\n", "f:1: a: found a tag (a word that begins with !), expected none; put the text in quotes"),
        ("a: !e!hunter2 x\n", "f:1: found a tag (a word that begins with !), expected none; put the text in quotes"),
        ("? [a]\n: b\n", "f:1: found a mapping or list as a key, expected a text"),
        ("a: 1\nb: {<<: 5}\n", "f:2: b.'<<': found something else, expected a mapping or a list of mappings"),
        ('a: "x\\0y"\n', "f:1: a: found a character that cannot be used (NUL or half of a pair)"),
        ('a: "\\ud800"\n', "f:1: a: found a character that cannot be used (NUL or half of a pair)"),
        ('a: "\\UFFFFFFFF"\n', "f:1: found what no YAML file can hold"),
        ("a: 1\nb: \x07\n", "f:2: found a character that is not allowed"),
        ("%YAML 3.0\n---\na: 1\n", "f:1: found what cannot be read as YAML"),
        ('a: "\\q"\n', "f:1: found a backslash that means nothing in double quotes; double it, or use single quotes"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_said_with_its_line_and_without_its_text(text: str, said: str) -> None:
    assert told(text) == [said]


def test_a_key_given_three_times_is_told_twice() -> None:
    assert [line.split(": ")[0] for line in told("a: 1\na: 2\nb: 3\na: 4\n")] == ["f:2", "f:4"]


@pytest.mark.parametrize(
    "text",
    [
        "[" * 10_000,
        "a: " * 3 + "[" * (MAX_DEPTH + 1),
        "a: " + "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1),
        "a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 2000)),
    ],
    ids=["brackets", "broken", "lists", "aliases"],
)
def test_deep_nesting_is_a_problem(text: str) -> None:
    assert len(told(text)) == 1


def test_an_alias_bomb_is_a_problem_and_no_bomb() -> None:
    text = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n"
    text += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 20))
    [problem] = told(text)
    assert problem.endswith("found more than fits in memory once its aliases (*) are filled in")


def test_a_bomb_of_merge_keys_is_a_problem() -> None:
    text = "a0: &a0 {x: 1, y: 2}\n" + "".join(
        f"a{n}: &a{n} {{<<: *a{n - 1}, p{n}: *a{n - 1}, q{n}: *a{n - 1}}}\n" for n in range(1, 36)
    )
    assert len(told(text)) == 1
