-- The columns of a session are always read in this order: rows.py takes them by place.

-- name: session_by_id
SELECT s.key, s.user, s.id, s.title, s.created, s.active, s.messages,
       (SELECT p.id FROM sessions p WHERE p.key = s.parent), s.status, s.usage, s.owner, s.fence, s.version,
       s.first, s.turns, s.current, s.queued, s.held, s.steers,
       s.revision
FROM sessions s WHERE s.user = ? AND s.id = ?;

-- name: session_by_key
SELECT s.key, s.user, s.id, s.title, s.created, s.active, s.messages,
       (SELECT p.id FROM sessions p WHERE p.key = s.parent), s.status, s.usage, s.owner, s.fence, s.version,
       s.first, s.turns, s.current, s.queued, s.held, s.steers,
       s.revision
FROM sessions s WHERE s.key = ? AND s.id IS NOT NULL;

-- name: found_messages
-- The numbers of the messages that have the words, the newest first, as one text.
SELECT group_concat(id) FROM (
    SELECT l.id FROM search f CROSS JOIN log l ON l.id = f.rowid CROSS JOIN sessions s ON s.key = l.session
    WHERE f.search MATCH ?1 AND f.rowid >= ?2 AND f.rowid < ?3
      AND s.user = ?4 AND s.id IS NOT NULL AND l.seq >= s.first AND (?5 IS NULL OR l.session = ?5)
      AND CASE l.kind WHEN 'message' THEN ?6 ELSE ?7 END
    ORDER BY f.rowid DESC LIMIT ?8
);

-- name: found_sessions
-- Behind a session's columns: how many of its messages and titles have the words, the number of the first message,
-- then of all that was found: sessions, messages, titles.
SELECT s.key, s.user, s.id, s.title, s.created, s.active, s.messages,
       (SELECT p.id FROM sessions p WHERE p.key = s.parent), s.status, s.usage, s.owner, s.fence, s.version,
       s.first, s.turns, s.current, s.queued, s.held, s.steers,
       s.revision, count(*), min(found.id), count(*) OVER (), sum(count(found.id)) OVER (),
       sum(count(*) - count(found.id)) OVER ()
FROM (
    SELECT session AS key, id FROM (
        SELECT l.session, l.id FROM search f CROSS JOIN log l ON l.id = f.rowid
        CROSS JOIN sessions s ON s.key = l.session
        WHERE f.search MATCH ?1 AND f.rowid > 0 AND s.user = ?2 AND s.id IS NOT NULL AND l.seq >= s.first
        ORDER BY f.rowid DESC LIMIT ?3
    )
    UNION ALL
    SELECT key, NULL FROM (
        SELECT s.key FROM search f CROSS JOIN sessions s ON s.key = -f.rowid
        WHERE f.search MATCH ?1 AND f.rowid < 0 AND s.user = ?2 AND s.id IS NOT NULL
        ORDER BY f.rowid LIMIT ?3
    )
) found CROSS JOIN sessions s ON s.key = found.key
GROUP BY s.key ORDER BY count(*) DESC, s.active DESC, s.key DESC LIMIT ?4 OFFSET ?5;

-- name: found_texts
-- The entries of a JSON list of numbers, in its order. The bytes of a text, because NUL would end its letters; its place
-- is counted where not too much is before it.
SELECT l.id, s.id, l.seq, l.kind, l.turn, substr(CAST(l.text AS BLOB), 1, ?2), l.created,
       CASE WHEN l.seq - s.first <= ?3 THEN (
           SELECT count(*) FROM log e WHERE e.session = l.session AND e.seq >= s.first AND e.seq < l.seq
           AND e.kind IN ('turn_opened', 'message', 'tool_result', 'steered')
       ) END
FROM json_each(?1) wanted CROSS JOIN log l ON l.id = wanted.value CROSS JOIN sessions s ON s.key = l.session;

-- name: span
-- The numbers of a session's first and last entry; they rise with its seqs.
SELECT (SELECT id FROM log WHERE session = ?1 AND seq >= ?2 ORDER BY seq LIMIT 1),
       (SELECT id FROM log WHERE session = ?1 ORDER BY seq DESC LIMIT 1);

-- name: create
INSERT INTO sessions (user, id, title, created, active, parent) VALUES (?, ?, ?, ?, ?, ?);

-- name: count_up
UPDATE counters SET value = value + ? WHERE name = 'sessions';

-- name: count
SELECT value FROM counters WHERE name = 'sessions';

-- name: rename
UPDATE sessions SET title = ?, active = max(active, ?) WHERE key = ?;

-- name: index
INSERT INTO search (rowid, text) VALUES (?, ?);

-- name: unindex
INSERT INTO search (search, rowid, text) VALUES ('delete', ?, ?);

-- name: bury
UPDATE sessions SET id = NULL, title = NULL, status = 'gone', owner = NULL, current = NULL, usage = '{}',
       fence = fence + 1 WHERE key = ?;

-- name: to_purge
INSERT INTO purges (session, whole, builder) VALUES (?, ?, ?)
ON CONFLICT (session) DO UPDATE SET whole = max(whole, excluded.whole), builder = excluded.builder;

-- name: abandon
UPDATE purges SET builder = NULL WHERE session = ?;

-- name: reset
-- The one more version is the entry that tells of the reset.
UPDATE sessions SET first = version + 1, version = version + 1, first_turn = turns + 1, fence = fence + 1, owner = NULL, current = NULL,
       queued = 0, held = 0, steers = 0, messages = 0, status = 'idle', active = max(active, ?) WHERE key = ?;

-- name: empty_inbox
DELETE FROM inbox WHERE session = ?;

-- name: next_purge
SELECT p.session, p.whole, p.builder, s.user, s.first, s.first_turn
FROM purges p CROSS JOIN sessions s ON s.key = p.session ORDER BY p.session;

-- name: purge_log
SELECT id, kind, text FROM log WHERE session = ? AND seq < ? ORDER BY seq LIMIT ?;

-- name: purge_entry
DELETE FROM log WHERE id = ?;

-- name: purge_effects
DELETE FROM effects WHERE (session, seq, call) IN (SELECT session, seq, call FROM effects WHERE session = ? AND seq < ? LIMIT ?);

-- name: purge_turns
DELETE FROM turns WHERE (session, turn) IN (SELECT session, turn FROM turns WHERE session = ? AND turn < ? LIMIT ?);

-- name: purge_inbox
DELETE FROM inbox WHERE id IN (SELECT id FROM inbox WHERE session = ? LIMIT ?);

-- name: purge_approvals
DELETE FROM approvals WHERE number IN (SELECT number FROM approvals WHERE session = ? AND seq < ? LIMIT ?);

-- name: purge_session
DELETE FROM sessions WHERE key = ?;

-- name: purged
DELETE FROM purges WHERE session = ?;

-- name: last_end
SELECT max(seq) FROM log WHERE session = ? AND kind IN ('turn_ended', 'context_cleared') AND seq >= ?;

-- name: end_after
SELECT seq FROM log WHERE session = ? AND kind IN ('turn_ended', 'context_cleared') AND seq >= ? ORDER BY seq LIMIT 1;

-- name: spoken_between
SELECT 1 FROM log WHERE session = ? AND seq > ? AND seq < ? AND kind IN ('turn_opened', 'message', 'tool_result', 'steered') LIMIT 1;

-- name: copy_log
INSERT INTO log (session, seq, kind, turn, body, text, created)
SELECT ?, seq, kind, turn, body, text, created FROM log WHERE session = ? AND seq > ? AND seq <= ? ORDER BY seq;

-- name: copy_search
INSERT INTO search (rowid, text)
SELECT id, indexed(?, text) FROM log
WHERE session = ? AND seq > ? AND seq <= ? AND text <> '' AND kind IN ('turn_opened', 'message', 'steered');

-- name: copy_open_effects
INSERT INTO effects SELECT ?, seq, call, tool, digest, status FROM effects
WHERE session = ? AND status IN ('started', 'intended') AND seq >= ? AND seq <= ?;

-- name: late_results
-- Results behind the end of a turn belong to it where they come before the next response.
SELECT body, text, created FROM log
WHERE session = ?1 AND seq > ?2 AND kind = 'tool_result'
AND seq < coalesce((SELECT min(seq) FROM log WHERE session = ?1 AND seq > ?2 AND kind = 'message'), 1 << 62) ORDER BY seq;

-- name: last_turn_end
SELECT seq, turn FROM log WHERE session = ? AND kind = 'turn_ended' ORDER BY seq DESC LIMIT 1;

-- name: move_up
-- By way of negative numbers, since each number is there once at any moment.
UPDATE log SET seq = -(seq + ?) WHERE session = ? AND seq >= ?;

-- name: moved_up
UPDATE log SET seq = -seq WHERE session = ? AND seq < 0;

-- name: copied
SELECT coalesce(sum(kind IN ('turn_opened', 'message', 'tool_result', 'steered')), 0), coalesce(max(turn), 0)
FROM log WHERE session = ?;

-- name: reveal
UPDATE sessions SET id = ?, title = ?, active = ?, messages = ?, usage = ?, version = ?, first = ?, turns = ?,
       status = 'idle', position = 0 WHERE key = ?;

-- name: turn_by_key
SELECT turn, status, attempts, key, digest, accepted, started, ended, reason, usage, opened_seq, ended_seq, cancel
FROM turns WHERE session = ?1 AND key = ?2 AND turn >= (SELECT first_turn FROM sessions WHERE key = ?1);

-- name: turn
SELECT turn, status, attempts, key, digest, accepted, started, ended, reason, usage, opened_seq, ended_seq, cancel
FROM turns WHERE session = ?1 AND turn = ?2 AND turn >= (SELECT first_turn FROM sessions WHERE key = ?1);

-- name: turns
SELECT turn, status, attempts, key, digest, accepted, started, ended, reason, usage, opened_seq, ended_seq, cancel
FROM turns WHERE session = ?1 AND turn >= (SELECT first_turn FROM sessions WHERE key = ?1) ORDER BY turn;

-- name: held_turns
SELECT turn FROM turns WHERE session = ?1 AND status = 'held'
AND turn >= (SELECT first_turn FROM sessions WHERE key = ?1) ORDER BY turn;

-- name: insert_turn
INSERT INTO turns (session, turn, status, attempts, key, digest, accepted, started, ended, reason, usage, opened_seq,
                   ended_seq, cancel)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: line_up
UPDATE sessions SET title = coalesce(title, ?), turns = ?, queued = queued + 1, position = position + 1,
       status = CASE WHEN current IS NULL THEN 'queued' ELSE status END, active = max(active, ?) WHERE key = ?
RETURNING position;

-- name: insert_input
INSERT INTO inbox (session, position, turn, kind, body, text, accepted) VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: say_into
UPDATE sessions SET steers = steers + 1, position = position + 1, active = max(active, ?) WHERE key = ?
RETURNING position;

-- name: line_up_with
-- As `line_up`, for what joins a turn that is in line already.
UPDATE sessions SET queued = queued + 1, position = position + 1, active = max(active, ?) WHERE key = ?
RETURNING position;

-- name: last_in_line
SELECT turn, kind, state FROM inbox WHERE session = ? AND kind <> 'steer' ORDER BY position DESC LIMIT 1;

-- name: open_fresh
UPDATE sessions SET title = coalesce(title, ?), turns = turns + 1, current = turns + 1, version = version + 1,
       messages = messages + 1, owner = ?, fence = fence + 1, status = 'running', active = max(active, ?) WHERE key = ?;

-- name: insert_entry
INSERT INTO log (session, seq, kind, turn, body, text, created) VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: tail
SELECT seq, kind, turn, body, text, created FROM log WHERE session = ? AND seq > ? AND seq >= ? ORDER BY seq;

-- name: open_effects
SELECT seq, call, tool, status FROM effects
WHERE session = ? AND status IN ('started', 'intended') AND seq >= ? ORDER BY seq, call;

-- name: next_input
SELECT turn FROM inbox WHERE session = ? AND state = 'queued' AND kind <> 'steer' ORDER BY position LIMIT 1;

-- name: inputs_of
SELECT body, text FROM inbox WHERE session = ? AND turn = ? AND kind <> 'steer' ORDER BY position;

-- name: take_inputs
DELETE FROM inbox WHERE session = ? AND turn = ? AND kind <> 'steer';

-- name: take_steer
DELETE FROM inbox WHERE session = ? AND position = ?;

-- name: open_queued
UPDATE sessions SET current = ?, version = version + 1, messages = messages + 1, queued = queued - ?, owner = ?,
       fence = fence + 1, status = 'running', active = max(active, ?) WHERE key = ?;

-- name: start_turn
UPDATE turns SET status = 'running', attempts = 1, started = ?, opened_seq = ? WHERE session = ? AND turn = ?;

-- name: take_over
UPDATE sessions SET owner = ?, fence = fence + 1, status = 'running', active = max(active, ?) WHERE key = ?;

-- name: run_again
UPDATE turns SET status = 'running' WHERE session = ? AND turn = ?;

-- name: step
UPDATE sessions SET version = version + ?, messages = messages + ?, usage = coalesce(?, usage), active = max(active, ?),
       steers = steers - ?
WHERE key = ? AND fence = ? AND owner = ? AND version = ? AND current = ? AND status = 'running'
RETURNING queued, held, steers;

-- name: step_to_end
-- As `step`, and the session is given back unless other input is in line; nothing is left to be said into the turn (the
-- last argument is how many steers are taken).
UPDATE sessions SET version = version + ?, messages = messages + ?, usage = coalesce(?, usage), active = max(active, ?),
       steers = steers - ?, owner = CASE WHEN queued > 0 THEN owner END, current = CASE WHEN queued > 0 THEN current END,
       status = CASE WHEN queued > 0 THEN status WHEN held > 0 THEN 'held' ELSE 'idle' END
WHERE key = ? AND fence = ? AND owner = ? AND version = ? AND current = ? AND status = 'running' AND steers = ?
RETURNING queued, held, steers;

-- name: still_owned
SELECT steers FROM sessions WHERE key = ? AND fence = ? AND owner = ? AND version = ? AND current = ?
AND status = 'running';

-- name: is_said
SELECT 1 FROM inbox WHERE session = ? AND position = ? AND kind = 'steer' AND state = 'queued';

-- name: release
UPDATE sessions SET owner = NULL, current = ?, status = ? WHERE key = ?;

-- name: hold_said
-- What was said into a turn, or to be said after it, is held when the turn comes to no good end.
UPDATE inbox SET state = 'held' WHERE session = ? AND state = 'queued' AND kind <> 'message' RETURNING kind, turn;

-- name: hold_turn
UPDATE turns SET status = 'held' WHERE session = ? AND turn = ? AND status = 'queued';

-- name: end_turn
UPDATE turns SET status = ?, ended = ?, reason = ?, usage = ?, ended_seq = ?, attempts = coalesce(?, attempts)
WHERE session = ? AND turn = ?;

-- name: attempt
UPDATE turns SET attempts = coalesce(?, attempts), usage = coalesce(?, usage) WHERE session = ? AND turn = ?;

-- name: cancel_asked
SELECT 1 FROM turns WHERE session = ? AND turn = ? AND cancel AND status = 'running';

-- name: insert_effect
INSERT INTO effects (session, seq, call, tool, digest, status) VALUES (?, ?, ?, ?, ?, ?);

-- name: finish_effect
UPDATE effects SET status = ? WHERE session = ? AND seq = ? AND call = ?;

-- name: ask_cancel
UPDATE turns SET cancel = 1 WHERE session = ? AND turn = ?;

-- name: drop_input
DELETE FROM inbox WHERE session = ? AND turn = ? AND kind <> 'steer' RETURNING state;

-- name: input_at
SELECT turn, kind, state FROM inbox WHERE session = ? AND position = ?;

-- name: drop_at
DELETE FROM inbox WHERE session = ? AND position = ?;

-- name: drop_steers
DELETE FROM inbox WHERE session = ? AND kind = 'steer' RETURNING state;

-- name: held_steers
SELECT position FROM inbox WHERE session = ? AND kind = 'steer' AND state = 'held' ORDER BY position;

-- name: follow_up_instead
UPDATE inbox SET kind = 'follow_up', turn = ?, state = 'queued' WHERE session = ? AND position = ?;

-- name: say_again
UPDATE inbox SET state = 'queued' WHERE session = ? AND turn = ? AND kind = 'steer' AND state = 'held' RETURNING id;

-- name: turns_up
UPDATE sessions SET turns = turns + 1 WHERE key = ?;

-- name: line_changed
UPDATE sessions SET queued = ?, held = ?, steers = ?, status = ?, active = max(active, ?) WHERE key = ?;

-- name: end_current
UPDATE sessions SET current = NULL, owner = NULL, fence = fence + 1, version = version + 1 WHERE key = ?;

-- name: hold_line
UPDATE inbox SET state = 'held' WHERE session = ?;

-- name: hold_turns
UPDATE turns SET status = 'held' WHERE session = ?1
AND turn IN (SELECT turn FROM inbox WHERE session = ?1 AND kind <> 'steer');

-- name: unhold_input
UPDATE inbox SET state = 'queued' WHERE session = ? AND turn = ? AND state = 'held' AND kind <> 'steer' RETURNING id;

-- name: unhold_turn
UPDATE turns SET status = 'queued' WHERE session = ? AND turn = ?;

-- name: inbox
SELECT position, turn, body, text, state, kind, accepted FROM inbox WHERE session = ? ORDER BY position;

-- name: runnable
SELECT user, id, owner, key FROM sessions WHERE status IN ('queued', 'running') ORDER BY active;

-- name: my_cancels
SELECT t.session, t.turn FROM turns t JOIN sessions s ON s.key = t.session
WHERE t.cancel AND t.status = 'running' AND s.owner = ? AND s.current = t.turn;

-- name: effects
SELECT seq, call, tool, status FROM effects WHERE session = ? AND seq >= ? ORDER BY seq, call;

-- name: join
INSERT INTO nodes (joined) VALUES (?);

-- name: leave
UPDATE nodes SET left = ? WHERE node = ?;

-- name: ask
INSERT INTO approvals (id, user, session, turn, seq, call, tool, arguments, digest, asked, expires)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: approval
SELECT a.id, a.user, s.id, a.turn, a.seq, a.call, a.tool, a.arguments, a.digest, a.status, a.asked, a.expires,
       a.decided, a.by, a.reason, a.changed
FROM approvals a JOIN sessions s ON s.key = a.session WHERE a.session = ? AND a.id = ? AND a.seq >= s.first;

-- name: approval_named
SELECT a.id, a.user, s.id, a.turn, a.seq, a.call, a.tool, a.arguments, a.digest, a.status, a.asked, a.expires,
       a.decided, a.by, a.reason, a.changed
FROM approvals a JOIN sessions s ON s.key = a.session
WHERE a.user = ? AND a.id = ? AND a.seq >= s.first AND s.id IS NOT NULL;

-- name: approvals_of_turn
-- Those that wait to be carried out, or still for a person.
SELECT a.id, a.user, s.id, a.turn, a.seq, a.call, a.tool, a.arguments, a.digest, a.status, a.asked, a.expires,
       a.decided, a.by, a.reason, a.changed
FROM effects e JOIN approvals a ON a.session = e.session AND a.seq = e.seq AND a.call = e.call
JOIN sessions s ON s.key = a.session
WHERE e.session = ? AND e.status IN ('started', 'intended') AND e.status = 'intended' AND a.turn = ? AND a.seq >= s.first
ORDER BY a.seq, a.call;

-- name: approvals_of_session
SELECT a.id, a.user, s.id, a.turn, a.seq, a.call, a.tool, a.arguments, a.digest, a.status, a.asked, a.expires,
       a.decided, a.by, a.reason, a.changed
FROM approvals a JOIN sessions s ON s.key = a.session
WHERE a.session = ? AND a.seq >= s.first ORDER BY a.seq, a.call LIMIT ?;

-- name: open_approvals_of_session
SELECT a.id, a.user, s.id, a.turn, a.seq, a.call, a.tool, a.arguments, a.digest, a.status, a.asked, a.expires,
       a.decided, a.by, a.reason, a.changed
FROM approvals a JOIN sessions s ON s.key = a.session
WHERE a.session = ? AND a.status = 'pending' ORDER BY a.seq, a.call LIMIT ?;

-- name: approvals_of_user
SELECT a.id, a.user, s.id, a.turn, a.seq, a.call, a.tool, a.arguments, a.digest, a.status, a.asked, a.expires,
       a.decided, a.by, a.reason, a.changed
FROM approvals a CROSS JOIN sessions s ON s.key = a.session
WHERE a.user = ? AND s.id IS NOT NULL AND a.seq >= s.first ORDER BY a.asked, a.session, a.seq, a.call LIMIT ?;

-- name: open_approvals_of_user
SELECT a.id, a.user, s.id, a.turn, a.seq, a.call, a.tool, a.arguments, a.digest, a.status, a.asked, a.expires,
       a.decided, a.by, a.reason, a.changed
FROM approvals a CROSS JOIN sessions s ON s.key = a.session
WHERE a.user = ? AND a.status = 'pending' ORDER BY a.asked, a.session, a.seq, a.call LIMIT ?;

-- name: like_in_session
SELECT session, seq, call, id FROM approvals
WHERE session = ?1 AND status = 'pending' AND tool = ?2 AND (?3 IS NULL OR digest = ?3);

-- name: like_of_user
SELECT session, seq, call, id FROM approvals
WHERE user = ?1 AND status = 'pending' AND tool = ?2 AND (?3 IS NULL OR digest = ?3);

-- name: overdue
SELECT session, id FROM approvals WHERE status = 'pending' AND expires IS NOT NULL AND expires <= ?
ORDER BY expires LIMIT ?;

-- name: decide
UPDATE approvals SET status = ?, decided = ?, by = ?, reason = ?, changed = ? WHERE session = ? AND id = ?;

-- name: close_questions
UPDATE approvals SET status = ?, decided = ? WHERE session = ? AND status = 'pending';

-- name: still_open
SELECT 1 FROM approvals WHERE session = ? AND turn = ? AND status = 'pending' LIMIT 1;

-- name: noted
UPDATE sessions SET version = version + 1, active = max(active, ?) WHERE key = ?;

-- name: acted
UPDATE sessions SET active = max(active, ?) WHERE key = ?;

-- name: kind_at
SELECT kind FROM log WHERE session = ? AND seq = ?;

-- name: wait_over
UPDATE turns SET status = 'queued' WHERE session = ? AND turn = ?;

-- name: remember
INSERT INTO remembered (id, user, session, tool, arguments, digest, since, by, node) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: recall
SELECT node FROM remembered
WHERE user = ? AND tool = ? AND (session IS NULL OR session = ?) AND (digest IS NULL OR digest = ?);

-- name: remembered_of_user
SELECT r.id, r.user, s.id, r.tool, r.arguments, r.digest, r.since, r.by, r.node
FROM remembered r LEFT JOIN sessions s ON s.key = r.session WHERE r.user = ? ORDER BY r.since, r.number;

-- name: remembered_of_session
SELECT r.id, r.user, s.id, r.tool, r.arguments, r.digest, r.since, r.by, r.node
FROM remembered r JOIN sessions s ON s.key = r.session WHERE r.session = ? ORDER BY r.since, r.number;

-- name: forget
DELETE FROM remembered WHERE user = ? AND id = ?;

-- name: forget_session
DELETE FROM remembered WHERE session = ?;

-- name: settings
SELECT body FROM settings WHERE session = ?;

-- name: set_settings
INSERT INTO settings (session, body) VALUES (?, ?) ON CONFLICT (session) DO UPDATE SET body = excluded.body;

-- name: settings_changed
UPDATE sessions SET revision = revision + 1, active = max(active, ?) WHERE key = ?;

-- name: copy_settings
INSERT INTO settings (session, body) SELECT ?, body FROM settings WHERE session = ?;

-- name: copy_revision
UPDATE sessions SET revision = ? WHERE key = ?;

-- name: purge_settings
DELETE FROM settings WHERE session = ?;
