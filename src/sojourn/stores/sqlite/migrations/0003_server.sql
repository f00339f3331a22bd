-- When an input was accepted; 0: before this was kept.
ALTER TABLE inbox ADD COLUMN accepted INTEGER NOT NULL DEFAULT 0;

-- A question is found by its id alone, among the user's.
CREATE INDEX approvals_name ON approvals (user, id);
