import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';

import { AuthError, SignedOutError, TokenpairClient } from '../tokenpair.js';
import { Browser, Clock, MemoryStorage, Services, until } from './support/world.js';

/** @type {Clock} */ let clock;
/** @type {Services} */ let services;
/** @type {Browser} */ let browser;
let pages = [];

beforeEach(async () => {
  clock = new Clock();
  services = await Services.start(clock);
  browser = new Browser();
});

afterEach(async () => {
  for (const page of pages) page.close();
  pages = [];
  browser.close();
  await services.stop();
  clock.restore();
});

/** A page with a client, which notes what it is told. */
function open(options = {}) {
  const heard = { signedIn: [], signedOut: [], tokens: [] };
  const page = new TokenpairClient({
    auth: services.base,
    onSignedIn: (token) => heard.signedIn.push(token.claims.sub),
    onSignedOut: (reason) => heard.signedOut.push(reason),
    onToken: (token, source) => heard.tokens.push(source),
    ...options,
  });
  pages.push(page);
  return Object.assign(page, { heard });
}

const profile = () => `${services.base}/profile`;

/** A page whose user has just signed in. */
async function signedIn(options) {
  const page = open(options);
  await page.login('cosmo', 'space-corgi');
  return page;
}

describe('signing in', () => {
  it('sends the access token, and keeps neither token where a later script finds it', async () => {
    const page = await signedIn();
    assert.equal(page.signedIn, true);
    assert.equal(page.token.claims.sub, 'cosmo');
    assert.equal(page.token.expiresIn, 900);
    assert.equal(page.token.refreshExpiresIn, 3600);
    assert.equal((await (await page.fetch(profile())).json()).sub, 'cosmo');
    assert.equal(JSON.parse(services.log[0].body).delivery, 'cookie');
    assert.deepEqual([...localStorage.items.values()], ['signed in']);
    assert.doesNotMatch(JSON.stringify(page), /e30/);
    assert.deepEqual(page.heard, { signedIn: ['cosmo'], signedOut: [], tokens: ['login'] });
  });

  it('says what is wrong with a password', async () => {
    const page = open();
    await assert.rejects(page.login('cosmo', 'guess'), (error) => {
      assert.ok(error instanceof AuthError);
      assert.deepEqual([error.status, error.code, error.message], [401, 'bad_credentials', 'This is bad_credentials']);
      return true;
    });
    assert.equal(page.signedIn, false);
    assert.deepEqual(page.heard.signedOut, []);
  });

  it('can be aborted', async () => {
    const page = open();
    await assert.rejects(page.login('cosmo', 'space-corgi', { signal: AbortSignal.abort() }), { name: 'AbortError' });
    assert.equal(page.signedIn, false);
  });

  it('is needed before anything is fetched', async () => {
    const page = open();
    await assert.rejects(page.renew(), SignedOutError);
    await assert.rejects(page.fetch(profile()), SignedOutError);
    await assert.rejects(page.accessToken(), SignedOutError);
    assert.deepEqual(services.log, []);
  });

  it('is taken up again after a reload', async () => {
    (await signedIn()).close();
    const page = open();
    assert.equal(page.signedIn, false);
    assert.equal(await page.restore(), true);
    assert.equal(page.token.claims.sub, 'cosmo');
    assert.deepEqual(page.heard, { signedIn: ['cosmo'], signedOut: [], tokens: ['refresh'] });
  });

  it('is not asked for where nobody ever signed in', async () => {
    assert.equal(await open().restore(), false);
    assert.deepEqual(services.log, []);
  });

  it('is forgotten when its cookie has gone', async () => {
    (await signedIn()).close();
    browser.jar.clear();
    const page = open();
    assert.equal(await page.restore(), false);
    assert.deepEqual(page.heard.signedOut, ['missing_token']);
    assert.equal(await open().restore(), false);
    assert.equal(services.count('POST /refresh'), 1);
  });
});

describe('refreshing', () => {
  it('comes just before the token expires, by what the server said and not by the time of day', async () => {
    const page = await signedIn();
    clock.advance(869);
    await page.fetch(profile());
    assert.equal(services.count('POST /refresh'), 0);
    clock.advance(2);
    const answer = await page.fetch(profile());
    assert.equal(answer.status, 200);
    assert.equal(services.count('POST /refresh'), 1);
    assert.deepEqual(page.heard.tokens, ['login', 'refresh']);
  });

  it('comes when it is asked for', async () => {
    const page = await signedIn();
    const { jti } = page.token.claims;
    assert.notEqual((await page.renew()).claims.jti, jti);
    assert.equal(services.count('POST /refresh'), 1);
  });

  it('comes in the last fifth of a short life', async () => {
    services.lifetime = 10;
    const page = await signedIn();
    clock.advance(7);
    await page.fetch(profile());
    assert.equal(services.count('POST /refresh'), 0);
    clock.advance(2);
    await page.fetch(profile());
    assert.equal(services.count('POST /refresh'), 1);
  });

  it('is not put off by a time of day that is set back', async () => {
    const page = await signedIn();
    clock.set(-86_400);
    clock.advance(900);
    assert.equal((await page.fetch(profile())).status, 200);
    assert.deepEqual(services.log.map((entry) => entry.what), ['POST /login', 'POST /refresh', 'GET /profile']);
  });

  it('comes after the machine has slept, though its other clock stood still', async () => {
    const page = await signedIn();
    clock.sleep(900);
    assert.equal((await page.fetch(profile())).status, 200);
    assert.deepEqual(services.log.map((entry) => entry.what), ['POST /login', 'POST /refresh', 'GET /profile']);
  });

  it('comes when the service says that the token has expired, and the request is sent again, body and all', async () => {
    const page = await signedIn();
    clock.true += 900_000;
    const answer = await page.fetch(profile(), { method: 'PUT', body: '{"bio":"A corgi in space."}' });
    assert.equal(answer.status, 200);
    assert.equal((await answer.json()).body, '{"bio":"A corgi in space."}');
    assert.deepEqual(services.log.map((entry) => entry.what), ['POST /login', 'PUT /profile', 'POST /refresh', 'PUT /profile']);
  });

  it('comes once for a request', async () => {
    const page = await signedIn();
    const answer = await page.fetch(`${services.base}/never-good`, { method: 'POST', body: 'x' });
    assert.equal((await answer.json()).code, 'token_expired');
    assert.equal(services.count('POST /refresh'), 1);
    assert.equal(services.count('POST /never-good'), 2);
    assert.equal(page.signedIn, true);
  });

  it('is one request, however many wait for it', async () => {
    const page = await signedIn();
    clock.advance(1000);
    const answers = await Promise.all(Array.from({ length: 10 }, () => page.fetch(profile())));
    assert.deepEqual(answers.map((answer) => answer.status), Array(10).fill(200));
    assert.equal(services.count('POST /refresh'), 1);
  });

  it('is one request for two pages at once', async () => {
    const [here, there] = [await signedIn(), open()];
    await there.restore();
    services.log.length = 0;
    clock.advance(1000);
    const answers = await Promise.all([here, there, here, there].map((page) => page.fetch(profile())));
    assert.deepEqual(answers.map((answer) => answer.status), [200, 200, 200, 200]);
    assert.equal(services.count('POST /refresh'), 1);
    assert.deepEqual([here.heard.tokens.at(-1), there.heard.tokens.at(-1)].sort(), ['another page', 'refresh']);
  });

  it('goes well in two pages at once where the browser has no locks', async () => {
    browser.withoutLocks();
    const [here, there] = [await signedIn(), open()];
    await there.restore();
    clock.advance(1000);
    const answers = await Promise.all([here, there].map((page) => page.fetch(profile())));
    assert.deepEqual(answers.map((answer) => answer.status), [200, 200]);
    assert.equal(here.signedIn && there.signedIn, true);
  });

  it('goes on for the others when one who waits for it stops waiting', async () => {
    const page = await signedIn();
    clock.advance(1000);
    let release;
    services.held = new Promise((resolve) => { release = resolve; });
    const impatient = new AbortController();
    const [one, other] = [page.fetch(profile(), { signal: impatient.signal }), page.fetch(profile())];
    await until(() => services.count('POST /refresh') === 1);
    impatient.abort();
    await assert.rejects(one, { name: 'AbortError' });
    release();
    assert.equal((await other).status, 200);
    assert.equal(services.count('POST /refresh'), 1);
    assert.equal(services.count('GET /profile'), 1);
  });

  it('keeps the same refresh token where the service does not rotate it', async () => {
    services.rotation = false;
    const page = await signedIn({ delivery: 'header' });
    for (let round = 0; round < 3; round++) {
      clock.advance(900);
      assert.equal((await page.fetch(profile())).status, 200);
    }
    assert.equal(services.count('POST /refresh'), 3);
    assert.equal(page.token.refreshExpiresIn, 3600 - 2700);
  });

  it('tells a token that another page had long ago by its age', async () => {
    const [here, there] = [await signedIn(), open()];
    clock.advance(900);
    await here.fetch(profile());
    clock.advance(100);
    await until(() => there.signedIn);
    assert.ok(there.token.expiresIn <= 800, String(there.token.expiresIn));
  });
});

describe('an auth-service that is away', () => {
  it('signs nobody out, and the token goes on being used while it is good', async () => {
    const page = await signedIn();
    services.trouble = [503, { code: 'overloaded', msg: 'Later' }, { 'Retry-After': '5' }];
    clock.advance(880);
    assert.equal((await page.fetch(profile())).status, 200);
    clock.advance(1);
    assert.equal((await page.fetch(profile())).status, 200);
    assert.equal(services.count('POST /refresh'), 1, 'not before Retry-After');
    clock.advance(20);
    await assert.rejects(page.fetch(profile()), (error) => error instanceof AuthError && error.retryAfter === 5);
    services.trouble = null;
    clock.advance(5);
    assert.equal((await page.fetch(profile())).status, 200);
    assert.deepEqual(page.heard.signedOut, []);
  });

  it('is a network error once the token has expired, and no sign-out', async () => {
    const page = await signedIn();
    services.away = true;
    clock.advance(1000);
    await assert.rejects(page.fetch(profile()), TypeError);
    assert.equal(page.signedIn, true);
    services.away = false;
    clock.advance(2);
    assert.equal((await page.fetch(profile())).status, 200);
    assert.deepEqual(page.heard.signedOut, []);
  });

  it('does not forget the session that a page wants to restore', async () => {
    (await signedIn()).close();
    services.away = true;
    const page = open();
    await assert.rejects(page.restore(), TypeError);
    services.away = false;
    clock.advance(2);
    assert.equal(await page.restore(), true);
  });

  it('cannot sign out, and says so', async () => {
    const page = await signedIn();
    services.away = true;
    await assert.rejects(page.logout(), TypeError);
    assert.equal(page.signedIn, true);
    assert.deepEqual(page.heard.signedOut, []);
  });
});

describe('signing out', () => {
  it('ends the session, in every page', async () => {
    const [here, there] = [await signedIn(), open()];
    await there.restore();
    await here.logout();
    await until(() => !there.signedIn);
    assert.equal(here.signedIn, false);
    assert.deepEqual([here.heard.signedOut, there.heard.signedOut], [['logout'], ['logout']]);
    assert.equal(services.sessions.get('s1').ended, 'token_revoked');
    assert.equal(localStorage.items.size, 0);
    await assert.rejects(there.fetch(profile()), SignedOutError);
  });

  it('everywhere ends all of the sessions', async () => {
    services.sessions.set('phone', {});
    const page = await signedIn();
    await page.logout({ everywhere: true });
    assert.equal(page.signedIn, false);
    assert.equal(services.sessions.get('phone').ended, 'token_revoked');
    assert.equal(services.count('POST /logout'), 0);
    assert.equal(browser.jar.size, 0);
  });

  it('by nobody asks nothing of anybody', async () => {
    await open().logout();
    assert.deepEqual(services.log, []);
  });

  it('goes well when the session was ended elsewhere', async () => {
    for (const everywhere of [false, true]) {
      const page = await signedIn();
      services.end(page.token.claims.sid);
      await page.logout({ everywhere });
      assert.equal(page.signedIn, false);
    }
  });

  it('elsewhere is heard of with the next request', async () => {
    const [here, there] = [await signedIn(), open()];
    await there.restore();
    services.end('s1');
    await assert.rejects(here.fetch(profile()), SignedOutError);
    await until(() => !there.signedIn);
    assert.deepEqual([here.heard.signedOut, there.heard.signedOut], [['token_revoked'], ['token_revoked']]);
  });

  it('comes of a refresh token that somebody else has used', async () => {
    const page = await signedIn();
    services.end('s1', 'refresh_token_reused');
    clock.advance(1000);
    await assert.rejects(page.fetch(profile()), SignedOutError);
    assert.deepEqual(page.heard.signedOut, ['refresh_token_reused']);
  });

  it('is not undone by the answer to a refresh that was under way', async () => {
    for (const locks of [true, false]) {
      if (!locks) browser.withoutLocks();
      const page = await signedIn({ delivery: 'header' });
      clock.advance(1000);
      let release;
      services.held = new Promise((resolve) => { release = resolve; });
      const fetched = page.fetch(profile()).catch(() => {});
      await until(() => services.log.at(-1).what === 'POST /refresh');
      const out = page.logout();
      release();
      await Promise.all([fetched, out]);
      assert.equal(page.signedIn, false);
      services.held = null;
    }
  });

  it('and in again as somebody else is taken over by the other pages', async () => {
    const [here, there] = [await signedIn(), open()];
    await there.restore();
    await here.login('laika', 'space-corgi');
    await until(() => there.token.claims.sub === 'laika');
    assert.deepEqual(there.heard.signedIn, ['cosmo', 'laika']);
    assert.equal((await (await there.fetch(profile())).json()).sub, 'laika');
  });
});

describe('the access token', () => {
  it('is sent to no origin that is not in the list', async () => {
    const page = await signedIn();
    const before = services.log.length;
    await assert.rejects(page.fetch('http://localhost:1/profile'), /http:\/\/localhost:1 is not among the origins/);
    await assert.rejects(page.fetch(profile().replace('127.0.0.1', 'localhost')), TypeError);
    await assert.rejects(page.fetch(profile().replace('//', '//127.0.0.1:1@elsewhere.')), TypeError);
    assert.equal(services.log.length, before);
  });

  it('does not follow a redirect to another origin', async () => {
    const other = await Services.start(clock);
    services.elsewhere = `${other.base}/profile`;
    const page = await signedIn();
    await assert.rejects(page.fetch(`${services.base}/elsewhere`), TypeError);
    assert.deepEqual(other.log, []);
    await other.stop();
  });

  it('goes to the origins of the list', async () => {
    const other = await Services.start(clock);
    other.sessions = services.sessions;
    const page = await signedIn({ origins: [other.base] });
    assert.equal((await page.fetch(`${other.base}/profile`)).status, 200);
    await other.stop();
  });

  it('is handed out for what is no fetch', async () => {
    const page = await signedIn();
    clock.advance(1000);
    assert.match(await page.accessToken(), /^e30\./);
    assert.equal(services.count('POST /refresh'), 1);
  });
});

describe('a refresh token in the header', () => {
  it('stays in memory, and the session goes with the page', async () => {
    const page = await signedIn({ delivery: 'header' });
    assert.equal(browser.jar.size + localStorage.items.size, 0);
    for (let round = 0; round < 3; round++) {
      clock.advance(900);
      assert.equal((await page.fetch(profile())).status, 200);
    }
    assert.equal(services.sessions.get('s1').generation, 3);
    const reloaded = open({ delivery: 'header' });
    assert.equal(await reloaded.restore(), false);
    assert.equal(reloaded.signedIn, false);
  });

  it('is of no concern to other pages while it is in memory', async () => {
    const [here, there] = [await signedIn({ delivery: 'header' }), await signedIn({ delivery: 'header' })];
    await here.logout();
    assert.equal(there.signedIn, true);
    assert.equal((await there.fetch(profile())).status, 200);
  });

  it('is kept where the caller wants it, for all pages, the newest always', async () => {
    const storage = new MemoryStorage();
    const [here, there] = [await signedIn({ delivery: 'header', storage }), open({ delivery: 'header', storage })];
    assert.equal(await there.restore(), true);
    for (let round = 0; round < 4; round++) {
      clock.advance(1000);
      const answers = await Promise.all([here, there].map((page) => page.fetch(profile())));
      assert.deepEqual(answers.map((answer) => answer.status), [200, 200]);
    }
    assert.equal(services.count('POST /refresh'), 5);
    await there.logout();
    await until(() => !here.signedIn);
    assert.equal(storage.items.size, 0);
  });

  it('comes without cookies', async () => {
    browser.jar.set('refresh', 's9-0');
    const page = await signedIn({ delivery: 'header' });
    clock.advance(1000);
    await page.fetch(profile());
    assert.deepEqual(services.log.map((entry) => entry.cookie), [undefined, undefined, undefined]);
  });
});

describe('options that cannot be used', () => {
  for (const [name, options, message] of [
    ['a delivery that is none', { delivery: 'post' }, /delivery: 'post'/],
    ['a storage for a cookie', { storage: new MemoryStorage() }, /storage/],
    ['an address that is none', { auth: 'auth' }, /Invalid URL/],
    ['an address of another kind', { auth: 'ftp://127.0.0.1' }, /auth/],
  ]) {
    it(`are refused: ${name}`, () => {
      assert.throws(() => open(options), message);
    });
  }
});
