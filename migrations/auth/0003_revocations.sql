-- What the feed tells of sessions that ended, who listens to it, and the audit log. Times are Unix milliseconds.

create table revocations (
    -- Goes up with every row, and is given once for ever, even when the table is set back to a backup: the time in
    -- microseconds, or one more than the row before. A subscriber that has read up to here asks for what is beyond.
    seq integer not null primary key,
    session_id text not null,
    reason text not null,
    revoked_at bigint not null,
    -- Unix seconds: from then on the session's last access token has expired by itself, leeway included.
    forget_after bigint not null
);

create index revocations_by_forgetting on revocations (forget_after);

-- How long the tokens are good that are being issued, leeway included. The commands end sessions and change secrets too, and
-- know no more of the service's settings than what stands here.
create table token_lifetimes (
    -- The type claim of the tokens: access, refresh.
    type text not null primary key,
    seconds bigint not null,
    -- Unix seconds: until then there may be tokens from before the last start, when the lifetime was longer.
    earlier_until bigint not null
);

-- The processes that hold keys: verifiers that listen to the feed, and auth-service itself.
create table key_holders (
    -- Made up by each process.
    id text not null primary key,
    -- Null: auth-service itself.
    client_id text references clients (id) on delete cascade,
    name text not null,
    -- The keys that it verifies with, and the seq that it has read up to.
    key_ids text not null,
    last_seq bigint,
    reported_at bigint not null
);

-- Secrets on their way in or out, by the ids of their keys; the secrets themselves are in the files that the services read.
create table key_rotation (
    key_id text not null primary key,
    -- next, recalled: verifies already and is to sign, for the first time or again. retired, withdrawn: has signed, and
    -- verifies until its last token has expired.
    state text not null,
    -- Null: it has not been seen yet that it signs no more.
    since bigint
);

create table audit_events (
    id integer not null primary key,
    at bigint not null,
    event text not null,
    -- Whom it is about. They may be gone by now, so that these refer to no table.
    user_id text,
    session_id text,
    client_id text,
    -- Who did it: a user id, a client id, or the name of a command; nobody, when they have not shown who they are.
    actor text,
    ip text,
    detail text
);

create index audit_events_by_time on audit_events (at);
create index audit_events_of_user on audit_events (user_id, id);

-- The secret that a bootstrap file declared last. While it declares the same, a secret that was rotated since stays.
alter table clients add column declared_secret_hash text;
