-- How a session's refresh tokens go to and fro: header (in bodies and headers) or cookie. The other way they are not taken.
alter table sessions add column delivery text not null default 'header';
