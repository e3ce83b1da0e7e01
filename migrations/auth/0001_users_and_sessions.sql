-- Times are Unix milliseconds.

create table users (
    id text not null primary key,
    -- Normalised (RFC 8265 UsernameCaseMapped), so that unique means what a reader of the name takes it to mean.
    username text not null unique,
    password_hash text not null,
    -- Null: whatever AUTH_DEFAULT_SCOPE says when the token is issued.
    scope text,
    created_at bigint not null,
    last_login_at bigint,
    disabled_at bigint
);

create table sessions (
    id text not null primary key,
    user_id text not null references users (id) on delete cascade,
    -- How often the session has been refreshed; a refresh token names the generation that it belongs to.
    generation bigint not null,
    -- The key that the ids of the session's refresh tokens are derived with, base64url.
    secret text not null,
    created_at bigint not null,
    -- Null until the first refresh.
    rotated_at bigint,
    last_used_at bigint not null,
    -- When the current refresh token expires, a whole second.
    expires_at bigint not null,
    revoked_at bigint,
    revoked_reason text,
    user_agent text,
    ip text
);

create index sessions_of_user on sessions (user_id);
create index sessions_by_expiry on sessions (expires_at);
