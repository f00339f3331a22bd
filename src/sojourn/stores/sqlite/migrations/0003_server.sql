-- When an input was accepted; 0: before this was kept.
ALTER TABLE inbox ADD COLUMN accepted INTEGER NOT NULL DEFAULT 0;

-- A question is found by its id alone, among the user's.
CREATE INDEX approvals_name ON approvals (user, id);

-- Lists of sessions in other orders, and of few among many. A turn writes none of these unless it waits or is held.
CREATE INDEX sessions_created ON sessions (user, created, key) WHERE id IS NOT NULL;
CREATE INDEX sessions_resting ON sessions (user, status, active, key) WHERE status IN ('waiting', 'held');
CREATE INDEX sessions_parent ON sessions (parent) WHERE parent IS NOT NULL;
