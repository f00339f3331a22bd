"""Many stored sessions at once: copies of one that Sojourn made, by SQL."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import apsw

from sojourn.stores.sqlite.schema import connect

#: Every so many copies share a word that no other has: searching it finds about as many sessions in any file.
ALIKE = 20


def fill(path: Path, template: str, count: int) -> None:
    """Copy the session of that id so many times, with its log, its turns and its places in the search index."""
    connection = connect(str(path), synchronous="OFF")
    with connection:
        found: list[Any] = connection.execute("SELECT key, user FROM sessions WHERE id = ?", (template,)).fetchall()
        key, user = found[0]
        last: list[Any] = connection.execute("SELECT max(key) FROM sessions").fetchall()
        base = last[0][0]
        copies = f"WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})"
        unit = f"' unit' || printf('%06d', i % {max(1, count // ALIKE)})"
        named = {"key": f"{base} + i", "id": filled_id("i"), "active": "active - i", "created": "created - i"}
        _copy(connection, copies, "sessions", f"key = {key}", named)
        said = {"session": f"{base} + i", "text": f"text || {unit}"}
        _copy(connection, copies, "log", f"session = {key}", said, left_out="id")
        _copy(connection, copies, "turns", f"session = {key}", {"session": f"{base} + i"})
        connection.execute("UPDATE counters SET value = value + ? WHERE name = 'sessions'", (count,))
        _index(connection, base, user)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.close()


def fill_waiting(path: Path, template: str, count: int) -> None:
    """Copy the session's row alone, as if so many more waited for a person: for lists, which read nothing else."""
    connection = connect(str(path), synchronous="OFF")
    with connection:
        copies = f"WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})"
        named = {
            "key": "(SELECT max(key) FROM sessions) + i", "id": "'waiting-' || printf('%06d', i)",
            "status": "'waiting'", "active": "active - i * 7919 % 1000",
        }  # fmt: skip
        _copy(connection, copies, "sessions", f"id = '{template}'", named)
        connection.execute("UPDATE counters SET value = value + ? WHERE name = 'sessions'", (count,))
    connection.close()


def filled_id(number: str) -> str:
    """SQL for the id of a copy."""
    return f"'copy-' || printf('%06d', {number})"


def _copy(
    connection: apsw.Connection, copies: str, table: str, which: str, changed: Mapping[str, str], *, left_out: str = ""
) -> None:
    found: list[Any] = connection.execute(f"SELECT name FROM pragma_table_info('{table}')").fetchall()
    columns = [name for (name,) in found if name != left_out]
    values = ", ".join(changed.get(name, name) for name in columns)
    names = ", ".join(columns)
    connection.execute(
        f"{copies} INSERT INTO {table} ({names}) SELECT {values} FROM n CROSS JOIN {table} WHERE {which} ORDER BY i"
    )


def _index(connection: apsw.Connection, base: int, user: str) -> None:
    connection.execute(
        "INSERT INTO search (rowid, text) SELECT id, indexed(?, text) FROM log "
        "WHERE session > ? AND text <> '' AND kind IN ('turn_opened', 'message')",
        (user, base),
    )
    connection.execute(
        "INSERT INTO search (rowid, text) SELECT -key, indexed(?, title) FROM sessions "
        "WHERE key > ? AND title IS NOT NULL",
        (user, base),
    )
