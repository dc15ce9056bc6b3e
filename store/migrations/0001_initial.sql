-- +goose Up

-- The schema of Exeat. Times are microseconds since 1970 in UTC, 0 for none;
-- identities are UUIDs of 16 bytes; lists are JSON. Every table is STRICT, so
-- that a value of the wrong type is an error when it is written.

PRAGMA application_id = 0x45786561; -- "Exea"

CREATE TABLE servers (
    id          BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    name        TEXT    NOT NULL,
    formerly    TEXT    NOT NULL, -- JSON array of earlier names; empty for none
    owner       TEXT    NOT NULL,
    mode        TEXT    NOT NULL,
    status      TEXT    NOT NULL,
    command     TEXT    NOT NULL, -- JSON array
    package     TEXT    NOT NULL,
    version     TEXT    NOT NULL,
    created     INTEGER NOT NULL,
    learn_until INTEGER NOT NULL,
    launched    INTEGER NOT NULL,
    listen      TEXT    NOT NULL,
    UNIQUE (owner, name)
) STRICT;

CREATE TABLE credentials (
    id      BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    server  BLOB    NOT NULL REFERENCES servers (id) ON DELETE CASCADE,
    hash    BLOB    NOT NULL UNIQUE CHECK (length(hash) = 32),
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    revoked INTEGER NOT NULL
) STRICT;
CREATE INDEX credentials_server ON credentials (server);

CREATE TABLE baseline_entries (
    id         BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    server     BLOB    NOT NULL REFERENCES servers (id) ON DELETE CASCADE,
    host       TEXT    NOT NULL,
    port       INTEGER NOT NULL,
    state      TEXT    NOT NULL,
    grades     TEXT    NOT NULL, -- JSON array
    phases     TEXT    NOT NULL, -- JSON array
    networks   TEXT    NOT NULL, -- JSON array of {asn, org, country}
    usual_up   INTEGER NOT NULL,
    first_seen INTEGER NOT NULL,
    last_seen  INTEGER NOT NULL,
    flows      INTEGER NOT NULL,
    decided_by TEXT    NOT NULL,
    decided_at INTEGER NOT NULL,
    note       TEXT    NOT NULL,
    UNIQUE (server, host, port)
) STRICT;

CREATE TABLE baseline_versions (
    server  BLOB    NOT NULL PRIMARY KEY REFERENCES servers (id) ON DELETE CASCADE,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The audit trail. Rows are only ever added.
CREATE TABLE changes (
    seq    INTEGER PRIMARY KEY AUTOINCREMENT,
    at     INTEGER NOT NULL,
    actor  TEXT    NOT NULL,
    action TEXT    NOT NULL,
    server BLOB    NOT NULL,
    name   TEXT    NOT NULL,
    detail TEXT    NOT NULL
) STRICT;
CREATE INDEX changes_at ON changes (at);
CREATE INDEX changes_server ON changes (server, at);

-- One row for each place that a server asked for, with its running totals; of
-- those beyond the most that a server may have, one for all, with host '*' and
-- port 0. Flows refer to rows by id: one that a flow refers to is never deleted.
CREATE TABLE destinations (
    id         INTEGER PRIMARY KEY,
    server     BLOB    NOT NULL,
    name       TEXT    NOT NULL, -- of the server, at its latest flow
    host       TEXT    NOT NULL,
    host_rev   TEXT    NOT NULL, -- host backwards: sub-domains are then a range
    port       INTEGER NOT NULL,
    first_seen INTEGER NOT NULL,
    last_seen  INTEGER NOT NULL,
    grade      TEXT    NOT NULL,
    grade_at   INTEGER NOT NULL, -- opening time of the flow that grade is from
    asn        INTEGER NOT NULL,
    org        TEXT    NOT NULL,
    country    TEXT    NOT NULL,
    place_at   INTEGER NOT NULL, -- opening time of the flow that the place is from
    flows      INTEGER NOT NULL,
    refused    INTEGER NOT NULL,
    bytes_up   INTEGER NOT NULL,
    bytes_down INTEGER NOT NULL,
    UNIQUE (server, host, port)
) STRICT;
CREATE INDEX destinations_recent ON destinations (last_seen, id);
CREATE INDEX destinations_server ON destinations (server, last_seen, id);
CREATE INDEX destinations_host ON destinations (host);
CREATE INDEX destinations_host_rev ON destinations (host_rev);

-- The running totals of each server.
CREATE TABLE totals (
    server       BLOB    NOT NULL PRIMARY KEY,
    first_seen   INTEGER NOT NULL,
    last_seen    INTEGER NOT NULL,
    flows        INTEGER NOT NULL,
    refused      INTEGER NOT NULL,
    bytes_up     INTEGER NOT NULL,
    bytes_down   INTEGER NOT NULL,
    destinations INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Hourly roll-ups. The hour is that of a flow's opening, in hours since 1970.
CREATE TABLE traffic_servers (
    hour       INTEGER NOT NULL,
    server     BLOB    NOT NULL,
    flows      INTEGER NOT NULL,
    refused    INTEGER NOT NULL,
    bytes_up   INTEGER NOT NULL,
    bytes_down INTEGER NOT NULL,
    PRIMARY KEY (hour, server)
) STRICT, WITHOUT ROWID;

CREATE TABLE traffic_destinations (
    dest       INTEGER NOT NULL,
    hour       INTEGER NOT NULL,
    flows      INTEGER NOT NULL,
    refused    INTEGER NOT NULL,
    bytes_up   INTEGER NOT NULL,
    bytes_down INTEGER NOT NULL,
    PRIMARY KEY (dest, hour)
) STRICT, WITHOUT ROWID;
CREATE INDEX traffic_destinations_hour ON traffic_destinations (hour);

-- The table is its own index by time. Every index below ends in that key too,
-- so each serves a listing "newest first" without sorting.
CREATE TABLE flows (
    opened     INTEGER NOT NULL,
    id         BLOB    NOT NULL CHECK (length(id) = 16),
    closed     INTEGER NOT NULL, -- 0: still open
    server     BLOB    NOT NULL,
    name       TEXT    NOT NULL,
    owner      TEXT    NOT NULL,
    mode       TEXT    NOT NULL,
    method     TEXT    NOT NULL,
    host       TEXT    NOT NULL,
    port       INTEGER NOT NULL,
    dest       INTEGER NOT NULL, -- destinations.id; 0 for a flow without a host
    chain      TEXT    NOT NULL, -- JSON array; empty for none
    ip         TEXT    NOT NULL,
    asn        INTEGER NOT NULL,
    org        TEXT    NOT NULL,
    country    TEXT    NOT NULL,
    sni        TEXT    NOT NULL,
    alpn       TEXT    NOT NULL, -- JSON array; empty for none
    ja4        TEXT    NOT NULL,
    ech        INTEGER NOT NULL,
    grade      TEXT    NOT NULL,
    phase      TEXT    NOT NULL,
    tool       TEXT    NOT NULL,
    bytes_up   INTEGER NOT NULL,
    bytes_down INTEGER NOT NULL,
    verdict    TEXT    NOT NULL,
    reason     TEXT    NOT NULL,
    ending     TEXT    NOT NULL,
    PRIMARY KEY (opened, id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX flows_id ON flows (id);
CREATE INDEX flows_server ON flows (server, verdict, opened, id);
CREATE INDEX flows_dest ON flows (dest, verdict, opened, id);
CREATE INDEX flows_verdict ON flows (verdict, opened, id);
-- The rare kinds that people look for; the common ones would only cost space.
CREATE INDEX flows_open ON flows (opened, id) WHERE closed = 0;
CREATE INDEX flows_reason ON flows (reason, opened, id, server)
    WHERE reason NOT IN ('approved', 'learning');
CREATE INDEX flows_grade ON flows (grade, opened, id, server)
    WHERE grade NOT IN ('', 'verified');

CREATE TABLE alerts (
    id          BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    kind        TEXT    NOT NULL,
    severity    TEXT    NOT NULL,
    server      BLOB    NOT NULL,
    name        TEXT    NOT NULL,
    owner       TEXT    NOT NULL,
    family      TEXT    NOT NULL,
    host        TEXT    NOT NULL,
    port        INTEGER NOT NULL,
    first       INTEGER NOT NULL,
    last        INTEGER NOT NULL,
    count       INTEGER NOT NULL,
    status      TEXT    NOT NULL,
    title       TEXT    NOT NULL,
    explanation TEXT    NOT NULL,
    next        TEXT    NOT NULL,
    asn         INTEGER NOT NULL,
    org         TEXT    NOT NULL,
    country     TEXT    NOT NULL,
    flows       TEXT    NOT NULL, -- JSON array of flow ids, newest first
    verdict     TEXT    NOT NULL,
    evidence    TEXT    NOT NULL  -- JSON object
) STRICT;
CREATE INDEX alerts_last ON alerts (last, id);
CREATE INDEX alerts_status ON alerts (status, last, id);
CREATE INDEX alerts_server ON alerts (server, last, id);
CREATE INDEX alerts_open ON alerts (server) WHERE status = 'open';

CREATE TABLE gaps (
    seq   INTEGER PRIMARY KEY,
    start INTEGER NOT NULL,
    until INTEGER NOT NULL,
    flows INTEGER NOT NULL,
    cause TEXT    NOT NULL
) STRICT;
CREATE INDEX gaps_until ON gaps (until);

CREATE TABLE sessions (
    id      BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    hash    BLOB    NOT NULL UNIQUE CHECK (length(hash) = 32),
    kind    TEXT    NOT NULL,
    label   TEXT    NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    seen    INTEGER NOT NULL
) STRICT;

-- One row that Health writes, to know that writing works.
CREATE TABLE probe (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    at INTEGER NOT NULL
) STRICT;
INSERT INTO probe (id, at) VALUES (1, 0);
