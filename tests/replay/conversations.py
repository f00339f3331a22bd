"""Six conversations of a bookshop's agent, in the form of recorded ones: what the model says and must be sent.

They have what trips a careless store: call ids that repeat, parallel calls, an answer beside calls, calls without
arguments, results that are JSON, empty or an error, text in several scripts, a long text.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Message = dict[str, Any]
Call = tuple[str, str, dict[str, Any], str]


def user(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


def says(text: str) -> list[Message]:
    return [{"role": "assistant", "content": text}]


def calls(*made: Call, text: str = "") -> list[Message]:
    """One response with calls (id, tool, arguments, result), and their results."""
    wanted = [{"id": call, "name": tool, "arguments": json.dumps(given)} for call, tool, given, _ in made]
    results = [
        {"role": "tool", "tool_call_id": call, "name": tool, "content": result} for call, tool, _, result in made
    ]
    return [{"role": "assistant", "content": text, "tool_calls": wanted}, *results]


DUNE = '{"isbn": "9780441013593", "title": "Dune", "price": 9.99}'
EMMA = '{"isbn": "9780141439587", "title": "Emma", "price": 7.5}'

CONVERSATIONS: dict[int, list[Message]] = {
    1: [
        *user("Do you have Dune?"),
        *calls(("call_1", "find_book", {"title": "Dune"}, DUNE)),
        *calls(("call_1", "stock", {"isbn": "9780441013593"}, "3")),
        *says("Yes: Dune, 9.99, three copies here."),
        *user("Please keep one for Ana."),
        *calls(("call_1", "reserve", {"isbn": "9780441013593", "customer": "Ana"}, '{"reservation": 41}')),
        *says("Done. It is reservation 41."),
    ],
    2: [
        *user("Which of Dune and Emma is cheaper, and which do you have?"),
        *calls(
            ("a", "find_book", {"title": "Dune"}, DUNE),
            ("b", "find_book", {"title": "Emma"}, EMMA),
            ("c", "opening_hours", {}, ""),
            text="Let me look.",
        ),
        *calls(
            ("a", "stock", {"isbn": "9780441013593"}, "3"),
            ("b", "stock", {"isbn": "9780141439587"}, "0"),
            ("c", "reserve", {"isbn": "9780441013593", "customer": "Bo"}, '{"reservation": 42}'),
            ("d", "find_book", {"title": "Persuasion"}, "null"),
        ),
        *says("Emma is cheaper at 7.50, but only Dune is here. I kept a copy for you."),
        *user("Too fast! Cancel that."),
        *calls(("x", "cancel_reservation", {"reservation": 42}, "cancelled")),
        *says("Cancelled."),
    ],
    3: [
        *user("こんにちは。「デューン」はありますか? 🙂"),
        *calls(("call_1", "find_book", {"title": "デューン"}, '{"title": "デューン", "isbn": "4"}')),
        *says("はい、あります。"),
        *user("ありがとうございます — naïve café résumé"),
        *says("どういたしまして。"),
    ],
    4: [
        *user("Here is my whole list:\n" + "\n".join(f"{n}. a book whose title begins with {n}" for n in range(400))),
        *says("That is a long list. Where shall I begin?\n" + "…" * 300),
        *user("At the end."),
        *says("399. it is."),
    ],
    5: [
        *user("Cancel reservation 7."),
        *calls(("call_1", "cancel_reservation", {"reservation": 7}, "there is no reservation 7")),
        *calls(("call_2", "cancel_reservation", {"reservation": 7}, "there is no reservation 7")),
        *says("I cannot find it."),
        *user("Oh, it was 42."),
        *calls(("call_1", "cancel_reservation", {"reservation": 42}, "cancelled")),
        *says("That one is cancelled."),
        *user("And your hours?"),
        *calls(("call_1", "opening_hours", {}, "")),
        *says("I do not know them, sorry."),
    ],
    6: [
        *user("hi"),
        *says("Hello! Which book are you looking for?"),
        *user("None, just saying hi"),
        *says("Then: hi."),
        *user("bye"),
        *says("Bye!"),
    ],
}


def many(copies: int) -> dict[int, list[Message]]:
    """Every conversation many times, each copy with a number of its own."""
    return {number + 100 * copy: messages for copy in range(copies) for number, messages in CONVERSATIONS.items()}


def write(path: Path, conversations: dict[int, list[Message]]) -> None:
    """As JSON Lines, the form of recorded conversations."""
    lines = [json.dumps({"id": number, "messages": messages}) for number, messages in conversations.items()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
