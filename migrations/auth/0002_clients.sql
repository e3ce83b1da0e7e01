-- Service accounts: programs with an identity of their own. Times are Unix milliseconds.

create table clients (
    id text not null primary key,
    -- SHA-256, base64url: the secrets are random or long, so that a slow hash would slow down nobody but us.
    secret_hash text not null,
    -- The secret before the last rotation, good until then.
    previous_secret_hash text,
    previous_secret_expires_at bigint,
    -- What the client may ask for, for itself.
    scope text not null,
    created_at bigint not null,
    disabled_at bigint
);
