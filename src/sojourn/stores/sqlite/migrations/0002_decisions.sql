-- Questions to people. Those that are void (of a session that is gone, or from before a reset) are not pending.
CREATE TABLE approvals (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    user TEXT NOT NULL,
    session INTEGER NOT NULL,
    turn INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    call INTEGER NOT NULL,
    tool TEXT NOT NULL,
    arguments TEXT NOT NULL,
    digest TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'pending',
    asked INTEGER NOT NULL,
    expires INTEGER,
    decided INTEGER,
    by TEXT,
    reason TEXT,
    changed TEXT
);
CREATE UNIQUE INDEX approvals_id ON approvals (session, id);
CREATE UNIQUE INDEX approvals_place ON approvals (session, seq, call);
CREATE INDEX approvals_user ON approvals (user, asked, session, seq, call);
CREATE INDEX approvals_open ON approvals (session, turn) WHERE status = 'pending';
CREATE INDEX approvals_waiting ON approvals (user, asked, session, seq, call) WHERE status = 'pending';
CREATE INDEX approvals_expiry ON approvals (expires) WHERE status = 'pending' AND expires IS NOT NULL;

-- A yes that holds for more than one call: of a session, or (NULL) of all sessions of the user.
CREATE TABLE remembered (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    user TEXT NOT NULL,
    session INTEGER,
    tool TEXT NOT NULL,
    arguments TEXT,
    digest TEXT,
    since INTEGER NOT NULL,
    by TEXT NOT NULL,
    node INTEGER                        -- holds only while this node lives
);
CREATE UNIQUE INDEX remembered_id ON remembered (user, id);
CREATE INDEX remembered_tool ON remembered (user, tool);
CREATE INDEX remembered_user ON remembered (user, since);
CREATE INDEX remembered_session ON remembered (session, since) WHERE session IS NOT NULL;

-- Calls that wait for a person have no result either.
DROP INDEX effects_open;
CREATE INDEX effects_open ON effects (session, seq, call) WHERE status IN ('started', 'intended');

-- Inputs in line that are said into the current turn: inbox.kind 'steer'. They are not counted in `queued`.
ALTER TABLE sessions ADD COLUMN steers INTEGER NOT NULL DEFAULT 0;

-- The last of these in a session is its state.
CREATE INDEX log_state ON log (session, seq) WHERE kind = 'state_changed';

-- What was chosen for one session alone: its model, pieces of its system prompt. No keys.
ALTER TABLE sessions ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
CREATE TABLE settings (session INTEGER PRIMARY KEY, body TEXT NOT NULL);
