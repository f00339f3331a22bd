-- What pages.py puts a statement of a page together from.

-- name: columns
-- In the order in which rows.py takes them.
SELECT s.key, s.user, s.id, s.title, s.created, s.active, s.messages,
       (SELECT p.id FROM sessions p WHERE p.key = s.parent), s.status, s.usage, s.owner, s.fence, s.version,
       s.first, s.turns, s.current, s.queued, s.held, s.steers,
       s.revision
FROM

-- Where to look, each in one pass along one index, which is named so that no statistics of a file lead elsewhere.

-- name: activity
sessions s INDEXED BY sessions_recent WHERE s.user = :user AND s.id IS NOT NULL

-- name: created
sessions s INDEXED BY sessions_created WHERE s.user = :user AND s.id IS NOT NULL

-- name: id
sessions s INDEXED BY sessions_id WHERE s.user = :user AND s.id IS NOT NULL

-- name: forks
sessions s INDEXED BY sessions_parent WHERE s.user = :user AND s.id IS NOT NULL

-- name: in_work
-- Of all users: few sessions of anybody are in line or running.
sessions s INDEXED BY sessions_runnable WHERE s.user = :user AND s.status IN ('queued', 'running')

-- name: waiting
-- One status at a time: only so are they in the order of their activity.
sessions s INDEXED BY sessions_resting WHERE s.user = :user AND s.status IN ('waiting', 'held') AND s.status = 'waiting'

-- name: held
sessions s INDEXED BY sessions_resting WHERE s.user = :user AND s.status IN ('waiting', 'held') AND s.status = 'held'

-- name: found
-- What is before `first` was reset and only waits to be purged. CROSS: from what was found to its sessions, never the
-- other way round, which would look through all that was found for every session.
(SELECT DISTINCT coalesce(l.session, -f.rowid) AS key
 FROM search f LEFT JOIN log l ON l.id = f.rowid
 WHERE f.search MATCH :match
   AND (l.id IS NULL OR l.seq >= (SELECT first FROM sessions WHERE key = l.session))) found
CROSS JOIN sessions s ON s.key = found.key WHERE s.user = :user AND s.id IS NOT NULL

-- What else has to be true.

-- name: parent
AND s.parent = (SELECT o.key FROM sessions o WHERE o.user = :user AND o.id = :parent)

-- name: active_since
AND s.active >= :active_since

-- name: active_before
AND s.active < :active_before
