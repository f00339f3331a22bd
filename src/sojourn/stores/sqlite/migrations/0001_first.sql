-- Times are milliseconds since 1970. Bodies are JSON text that names its own format.
-- AUTOINCREMENT: a key is never used twice, so a copy of a deleted session can never be taken for its successor.

CREATE TABLE sessions (
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    user TEXT NOT NULL,
    id TEXT,                            -- NULL: deleted, or not whole yet; unreachable either way
    title TEXT,
    created INTEGER NOT NULL,
    active INTEGER NOT NULL,
    messages INTEGER NOT NULL DEFAULT 0,
    parent INTEGER,                     -- the key of the session it was forked from
    status TEXT NOT NULL DEFAULT 'idle',
    usage TEXT NOT NULL DEFAULT '{}',
    owner INTEGER,                      -- the node that may write it; NULL: nobody
    fence INTEGER NOT NULL DEFAULT 0,
    version INTEGER NOT NULL DEFAULT 0, -- the last seq in the log
    first INTEGER NOT NULL DEFAULT 1,   -- the first seq that counts; what is before is being purged
    turns INTEGER NOT NULL DEFAULT 0,
    first_turn INTEGER NOT NULL DEFAULT 1,
    current INTEGER,
    queued INTEGER NOT NULL DEFAULT 0,
    held INTEGER NOT NULL DEFAULT 0,
    position INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX sessions_id ON sessions (user, id);
CREATE INDEX sessions_recent ON sessions (user, active, key) WHERE id IS NOT NULL;
CREATE INDEX sessions_runnable ON sessions (active) WHERE status IN ('queued', 'running');

-- A rowid table with a unique index: keyed by (session, seq) itself, rows of more than 1 KB would spill to overflow pages.
CREATE TABLE log (
    id INTEGER PRIMARY KEY,
    session INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    kind TEXT NOT NULL,
    turn INTEGER NOT NULL,
    body TEXT NOT NULL,
    text TEXT NOT NULL,
    created INTEGER NOT NULL
);
CREATE UNIQUE INDEX log_place ON log (session, seq);

CREATE TABLE turns (
    session INTEGER NOT NULL,
    turn INTEGER NOT NULL,
    status TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    key TEXT,
    digest TEXT,
    accepted INTEGER NOT NULL,
    started INTEGER,
    ended INTEGER,
    reason TEXT,
    usage TEXT NOT NULL DEFAULT '{}',
    opened_seq INTEGER,
    ended_seq INTEGER,
    cancel INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (session, turn)
) WITHOUT ROWID;
CREATE INDEX turns_key ON turns (session, key) WHERE key IS NOT NULL;
CREATE INDEX turns_cancel ON turns (session, turn) WHERE cancel AND status = 'running';
CREATE INDEX turns_held ON turns (session, turn) WHERE status = 'held';

CREATE TABLE inbox (
    id INTEGER PRIMARY KEY,
    session INTEGER NOT NULL,
    position INTEGER NOT NULL,
    turn INTEGER NOT NULL,
    kind TEXT NOT NULL DEFAULT 'message',
    body TEXT NOT NULL,
    text TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'queued'
);
CREATE UNIQUE INDEX inbox_place ON inbox (session, position);

CREATE TABLE effects (
    session INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    call INTEGER NOT NULL,
    tool TEXT NOT NULL,
    digest TEXT NOT NULL,
    status TEXT NOT NULL,
    PRIMARY KEY (session, seq, call)
) WITHOUT ROWID;
CREATE INDEX effects_open ON effects (session, seq, call) WHERE status = 'started';

CREATE TABLE nodes (
    node INTEGER PRIMARY KEY AUTOINCREMENT,
    joined INTEGER NOT NULL,
    left INTEGER
);

-- What delete, reset and half-made copies leave behind: everything of a session, or its log before `first`.
CREATE TABLE purges (
    session INTEGER PRIMARY KEY,
    whole INTEGER NOT NULL,
    builder INTEGER                     -- the node that is still copying it; purged only when that node is dead
);

CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO counters VALUES ('sessions', 0);

-- Titles have the rowid -key, messages the rowid of their log entry. The text itself lies in those tables alone.
-- It gets words that are made plain already, the first of them naming the user, so the tokenizer splits at spaces and
-- judges no letter. Which rows have a word is all that is asked of it: no places, no lengths.
CREATE VIRTUAL TABLE search USING fts5 (
    text, content = '', columnsize = 0, detail = none,
    tokenize = 'unicode61 remove_diacritics 0 categories ''L* M* N* P* S* Co'''
);
INSERT INTO search (search, rank) VALUES ('secure-delete', 1);
