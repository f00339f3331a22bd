"""SQLite's full-text index and the words of a query: one idea of what a word is, for every letter there is."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

from sojourn.stores.common import searchable, words
from sojourn.stores.sqlite.rows import SQL
from sojourn.stores.sqlite.schema import connect, migrate


def test_the_index_splits_no_word_and_drops_no_letter(tmp_path: Path) -> None:
    letters = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
    lonely = [letter for letter in letters if len(words(f"x{letter}")) == 1 and words(f"x{letter}") != ["x"]]
    path = str(tmp_path / "chat.db")
    with closing(connect(path, synchronous="OFF")) as connection:
        migrate(connection, path)
        connection.execute("BEGIN")
        for row, letter in enumerate(lonely, 1):
            connection.execute(SQL["index"], (row, searchable(f"x{letter}")))
        connection.execute("CREATE VIRTUAL TABLE temp.found USING fts5vocab (main, search, 'instance')")
        tokens = dict.fromkeys(range(1, len(lonely) + 1), 0)
        dropped = []
        for term, row in connection.execute("SELECT term, doc FROM found"):
            tokens[int(str(row))] += 1
            dropped += [lonely[int(str(row)) - 1]] * (term == "x")
    assert len(lonely) > 100_000
    assert dropped == []
    assert [lonely[row - 1] for row, count in tokens.items() if count != 1] == []
