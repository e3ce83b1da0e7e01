/** The demo page: what happens is the client's doing, and the page shows it. */

import { AuthError, SignedOutError, TokenpairClient } from './tokenpair.js';

const auth = new URL(document.querySelector('meta[name="auth-service"]').content);
const element = (id) => document.getElementById(id);

/** How often the figures are asked for while somebody is looking. */
const LOOK_EVERY = 10_000;
const EVENTS_SHOWN = 14;
const SIGNED_OUT_BECAUSE = {
  logout: 'You have signed out.',
  token_revoked: 'This session was ended from elsewhere. Sign in again.',
  token_expired: 'This session was not used for so long that it has ended. Sign in again.',
  refresh_token_reused: 'A copy of this session’s refresh token was used elsewhere, so the session has been ended. Sign in again.',
};
const CLAIMS = {
  preferred_username: 'your name, to be shown',
  sub: 'who you are, for ever',
  scope: 'what it allows',
  fresh: 'whether the password was given for it',
  sid: 'the session; when that ends, so does the token',
  iss: 'who issued it',
  aud: 'whom it is for',
  auth_time: 'when the password was given',
  iat: 'when it was issued',
  exp: 'when it expires',
  jti: 'its own number',
};
const TIMES = new Set(['auth_time', 'iat', 'exp']);

/** How long the tokens at hand were good for when they came, for the bars. */
const life = { access: 1, refresh: 1 };

/** Ends what was asked for one user before the next is there: a late answer must not become theirs. */
let asking = new AbortController();

const client = new TokenpairClient({
  auth,
  origins: [location.origin],
  onSignedIn: () => arrive(),
  onSignedOut: (reason) => leave(SIGNED_OUT_BECAUSE[reason] ?? 'The session is over. Sign in again.'),
  onToken: (token, source) => {
    life.access = Math.max(1, Math.round(token.expiresIn));
    life.refresh = Math.max(1, Math.round(token.refreshExpiresIn ?? life.refresh));
    if (source === 'login') happened('Signed in: auth-service gave two tokens', 'refreshed');
    if (source === 'refresh') happened('Refreshed: a new access token', 'refreshed');
    if (source === 'another page') happened('Another tab refreshed, and told this one', 'refreshed');
    showToken(token);
  },
});

// ---- What is to be seen when

function arrive() {
  forget();
  element('signed-out').hidden = true;
  element('signed-in').hidden = false;
  element('account').hidden = false;
  element('username').textContent = client.token.claims.preferred_username ?? client.token.claims.sub;
  element('sign-in').reset();
  element('sign-in-error').textContent = '';
  notice('');
  element('overview').focus();
  look();
}

function leave(why) {
  element('signed-in').hidden = true;
  element('account').hidden = true;
  element('signed-out').hidden = false;
  forget();
  for (const id of ['events', 'claims']) element(id).replaceChildren();
  for (const id of ['token-header', 'token-payload', 'token-signature']) element(id).textContent = '';
  notice(why);
  element('sign-in').elements.username.focus();
}

/** Nothing of one user is left for the next. */
function forget() {
  asking.abort();
  asking = new AbortController();
  for (const id of ['dashboard', 'sessions']) element(id).replaceChildren();
  element('profile').reset();
  element('profile-state').textContent = '';
  showFaults({});
  profileIsHere(false);
}

function notice(text) {
  element('notice').textContent = text;
  element('notice').hidden = text === '';
}

/** The session is over, which is said elsewhere. */
function isOver(error) {
  return error instanceof SignedOutError || error.name === 'AbortError';
}

function complain(error, what) {
  if (isOver(error)) return;
  const why = error instanceof AuthError ? error.message : 'The service cannot be reached at the moment; you stay signed in.';
  notice(`${what} ${why}`);
}

function happened(text, kind = '') {
  const item = document.createElement('li');
  const at = document.createElement('time');
  const now = new Date();
  at.dateTime = now.toISOString();
  at.textContent = now.toLocaleTimeString();
  const what = document.createElement('span');
  what.className = kind;
  what.textContent = text;
  item.append(at, what);
  const events = element('events');
  events.prepend(item);
  while (events.children.length > EVENTS_SHOWN) events.lastElementChild.remove();
}

// ---- The tokens

function showToken({ claims }) {
  const known = Object.keys(CLAIMS).filter((name) => name in claims);
  element('claims').replaceChildren(...known.flatMap((name) => {
    const term = document.createElement('dt');
    term.textContent = name;
    const value = document.createElement('dd');
    value.textContent = TIMES.has(name) ? new Date(claims[name] * 1000).toLocaleTimeString() : String(claims[name]);
    const meaning = document.createElement('small');
    meaning.textContent = CLAIMS[name];
    value.append(meaning);
    return [term, value];
  }));
  client.accessToken().then((token) => {
    const parts = token.split('.');
    ['header', 'payload', 'signature'].forEach((part, index) => { element(`token-${part}`).textContent = parts[index]; });
  }, () => {});
}

function span(seconds) {
  const whole = Math.max(0, Math.ceil(seconds));
  if (whole < 60) return `${whole} s`;
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  const two = (number) => String(number).padStart(2, '0');
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

function tick() {
  const token = client.token;
  if (!token || document.hidden) return;
  element('access-left').textContent = span(token.expiresIn);
  element('access-life').textContent = span(life.access);
  element('access-progress').max = life.access;
  element('access-progress').value = Math.max(0, token.expiresIn);
  const refresh = token.refreshExpiresIn ?? life.refresh;
  element('refresh-left').textContent = span(refresh);
  element('refresh-progress').max = life.refresh;
  element('refresh-progress').value = Math.max(0, refresh);
}

// ---- The data

/** A request with the access token, which the page tells of. */
async function ask(path, init = {}, base = location.origin) {
  const method = init.method ?? 'GET';
  const url = new URL(path, base);
  const headers = init.body ? { 'Content-Type': 'application/json' } : {};
  let answer;
  try {
    answer = await client.fetch(url, { ...init, headers, signal: asking.signal });
  } catch (error) {
    if (!isOver(error)) happened(`${method} ${url.pathname}: no answer`, 'failed');
    throw error;
  }
  happened(`${method} ${url.pathname} → ${answer.status}`, answer.ok ? '' : 'failed');
  const body = answer.status === 204 ? null : await answer.json();
  if (!answer.ok) throw Object.assign(new AuthError(answer.status, body.code, body.msg, body.errors), {});
  return body;
}

async function look() {
  if (!client.signedIn || document.hidden) return;
  const parts = await Promise.allSettled([loadDashboard(), loadSessions(), loadProfile()]);
  const failed = parts.find((part) => part.status === 'rejected');
  if (failed) complain(failed.reason, 'What you see may be old.');
  else if (client.signedIn) notice('');
}

async function loadDashboard() {
  const dashboard = await ask('/dashboard');
  const { account, profile, missing } = dashboard;
  const rows = [
    ['You may', dashboard.token.scope],
    ['This token came from', dashboard.token.fresh ? 'a login' : 'a refresh'],
    ['Profile changed', when(profile.updated_at)],
    ['Account since', account && when(account.created_at)],
    ['Last signed in', account && when(account.last_login_at)],
    ['Sessions', account && String(account.live_sessions)],
    ...missing.map(({ part, reason }) => [`No ${part}`, reason]),
  ];
  element('dashboard').replaceChildren(...rows.filter(([, value]) => value !== null).flatMap(([name, value]) => {
    const [term, text] = [document.createElement('dt'), document.createElement('dd')];
    [term.textContent, text.textContent] = [name, value];
    return [term, text];
  }));
}

function when(time) {
  return time ? new Date(time).toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' }) : 'never';
}

async function loadSessions() {
  const { sessions } = await ask('sessions', {}, auth);
  element('sessions').replaceChildren(...sessions.map((session) => {
    const item = document.createElement('li');
    const text = document.createElement('div');
    text.textContent = browserOf(session.user_agent);
    const details = document.createElement('small');
    details.textContent = `${session.ip ?? 'address unknown'} · since ${when(session.created_at)} · last used ${when(session.last_used_at)}`;
    text.append(details);
    item.append(text, session.current ? badge() : endButton(session, text.firstChild.data));
    return item;
  }));
}

function badge() {
  const mark = document.createElement('span');
  mark.className = 'badge';
  mark.textContent = 'this one';
  return mark;
}

function endButton(session, name) {
  const button = document.createElement('button');
  button.type = 'button';
  button.className = 'danger';
  button.textContent = 'End';
  button.setAttribute('aria-label', `End the session of ${name}, since ${when(session.created_at)}`);
  button.addEventListener('click', () => busy(button, async () => {
    try {
      await ask(`sessions/${session.id}`, { method: 'DELETE' }, auth);
      await loadSessions();
    } catch (error) {
      complain(error, 'The session was not ended.');
    }
  }));
  return button;
}

function browserOf(userAgent) {
  if (!userAgent) return 'A program';
  const browser = ['Edg', 'OPR', 'Firefox', 'Chrome', 'Safari', 'curl'].find((name) => userAgent.includes(`${name}/`));
  const system = ['Android', 'iPhone', 'iPad', 'Windows', 'Mac OS', 'Linux'].find((name) => userAgent.includes(name));
  const names = { Edg: 'Edge', OPR: 'Opera' };
  if (!browser) return userAgent.slice(0, 60);
  return `${names[browser] ?? browser}${system ? ` on ${system}` : ''}`;
}

/** Until it is here nothing can be typed into it: that would be overwritten, and what is not here yet be saved as nothing. */
function profileIsHere(here) {
  const form = element('profile');
  form.elements.display_name.readOnly = !here;
  form.elements.bio.readOnly = !here;
  form.ariaBusy = String(!here);
}

function profileIsMissing() {
  return element('profile').elements.bio.readOnly;
}

/** Once: afterwards it is the user's, who may be writing. */
async function loadProfile() {
  if (!profileIsMissing()) return;
  const profile = await ask('/profile');
  if (!profileIsMissing()) return;
  fill(profile);
  profileIsHere(true);
}

function fill({ display_name: name, bio }) {
  const fields = element('profile').elements;
  fields.display_name.value = name ?? '';
  fields.bio.value = bio ?? '';
}

function showFaults(errors) {
  for (const name of ['display_name', 'bio']) {
    const faults = errors[name] ?? [];
    element(`error-${name}`).textContent = faults.join(' ');
    element('profile').elements[name].setAttribute('aria-invalid', String(faults.length > 0));
  }
}

// ---- What the user does

/** One click is one request. A button that were disabled meanwhile would lose the focus, and its user their place. */
async function busy(button, what) {
  if (button.ariaDisabled === 'true') return;
  button.ariaDisabled = 'true';
  try {
    await what();
  } finally {
    button.ariaDisabled = null;
  }
}

element('sign-in').addEventListener('submit', (event) => {
  event.preventDefault();
  const { username, password } = event.target.elements;
  busy(event.submitter, async () => {
    element('sign-in-error').textContent = '';
    try {
      await client.login(username.value, password.value);
    } catch (error) {
      const text = error instanceof AuthError ? error.message : 'auth-service cannot be reached at the moment. Try again.';
      element('sign-in-error').textContent = text;
      password.select();
    }
  });
});

element('profile').addEventListener('submit', (event) => {
  event.preventDefault();
  const { display_name: name, bio } = event.target.elements;
  const state = element('profile-state');
  if (profileIsMissing()) {
    state.textContent = 'Your profile is not here yet';
    return;
  }
  busy(event.submitter, async () => {
    state.textContent = '';
    showFaults({});
    try {
      const body = JSON.stringify({ display_name: name.value || null, bio: bio.value || null });
      fill(await ask('/profile', { method: 'PUT', body }));
      state.textContent = 'Saved';
      await loadDashboard();
    } catch (error) {
      showFaults(error.errors ?? {});
      if (Object.keys(error.errors ?? {}).length === 0) complain(error, 'The profile was not saved.');
      else state.textContent = 'Not saved';
    }
  });
});
element('profile').addEventListener('input', () => { element('profile-state').textContent = ''; });

element('refresh-now').addEventListener('click', (event) => busy(event.currentTarget, async () => {
  try {
    await client.renew();
    await look();
  } catch (error) {
    complain(error, 'There is no new token.');
  }
}));

for (const [id, everywhere] of [['sign-out', false], ['sign-out-everywhere', true]]) {
  element(id).addEventListener('click', (event) => busy(event.currentTarget, async () => {
    try {
      await client.logout({ everywhere });
    } catch (error) {
      complain(error, 'You have not been signed out.');
    }
  }));
}

document.addEventListener('visibilitychange', () => { tick(); look(); });
setInterval(tick, 250);
setInterval(look, LOOK_EVERY);

// ---- The beginning

const LOCAL = new Set(['localhost', '127.0.0.1', '[::1]']);

async function begin() {
  element('auth-service').textContent = auth.origin;
  try {
    if (!await client.restore() && element('signed-in').hidden && element('signed-out').hidden) leave('');
  } catch {
    element('signed-out').hidden = false;
    notice('auth-service cannot be reached at the moment. If you were signed in, you still are; this page goes on trying.');
    setTimeout(begin, 2000);
  }
}

// To a browser, the names of this machine are different sites, and the cookie stays within one.
if (LOCAL.has(location.hostname) && LOCAL.has(auth.hostname) && location.hostname !== auth.hostname) {
  location.replace(Object.assign(new URL(location), { hostname: auth.hostname }));
} else {
  begin();
}
