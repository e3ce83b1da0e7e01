-- Where a user has logged in from before is looked up at every login while strangers guess their password.
create index audit_logins_by_address on audit_events (user_id, ip) where event = 'login_succeeded';

-- Whether somebody registered: that a file declares a user of that name is no reason to believe that it means them.
alter table users add column registered integer not null default 0;
update users set registered = 1
 where id in (select user_id from audit_events where event = 'user_added' and actor is null);
