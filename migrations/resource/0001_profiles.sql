-- One row for each user who has written a profile. Times are Unix milliseconds.

create table profiles (
    -- The token's sub: never reassigned.
    user_id text not null primary key,
    display_name text,
    bio text,
    updated_at bigint not null
);
