/** What a browser has around its pages and Node has not: a cookie jar, storage, locks, and clocks that a test moves. */

import { createServer } from 'node:http';
import { once } from 'node:events';

/** Both services in one small server: the rules of the wire, and none of the cryptography. */
export class Services {
  /** How long tokens are good, in seconds. */
  lifetime = 900;
  grace = 10;
  rotation = true;
  /** Cut the connection instead of answering. */
  away = false;
  /** An answer for the next request to /refresh: a status, a body, headers. */
  trouble = null;
  /** Hold answers to /refresh back until the test lets them go. */
  held = null;
  /** `METHOD /path` of everything that came, and what it presented. */
  log = [];
  sessions = new Map();
  #serial = 0;

  static async start(clock) {
    const services = new Services();
    services.clock = clock;
    services.server = createServer((request, response) => services.#answer(request, response));
    services.server.listen(0, '127.0.0.1');
    await once(services.server, 'listening');
    services.base = `http://127.0.0.1:${services.server.address().port}`;
    return services;
  }

  async stop() {
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, 'close');
  }

  count(what) {
    return this.log.filter((entry) => entry.what === what).length;
  }

  end(sid, code = 'token_revoked') {
    this.sessions.get(sid).ended = code;
  }

  async #answer(request, response) {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = Buffer.concat(chunks).toString();
    const { pathname } = new URL(request.url, this.base);
    const entry = { what: `${request.method} ${pathname}`, authorization: request.headers.authorization, cookie: request.headers.cookie, body };
    this.log.push(entry);
    if (this.away) return request.socket.destroy();
    const send = (status, value, headers = {}) => {
      response.writeHead(status, { 'Content-Type': 'application/json', ...headers });
      response.end(value === undefined ? '' : JSON.stringify(value));
    };
    const refuse = (code, status = 401) => send(status, { code, msg: `This is ${code}` });
    switch (entry.what) {
      case 'POST /login': {
        const { username, password, delivery = 'header' } = JSON.parse(body);
        if (password !== 'space-corgi') return refuse('bad_credentials');
        const session = { sid: `s${++this.#serial}`, sub: username, delivery, generation: 0, rotatedAt: -Infinity };
        this.sessions.set(session.sid, session);
        return this.#issue(send, session);
      }
      case 'POST /refresh': {
        if (this.held) await this.held;
        if (this.trouble) {
          const [status, value, headers] = this.trouble;
          return send(status, value, headers);
        }
        return this.#refreshed(entry, send, refuse);
      }
      case 'POST /logout': {
        const session = this.#session(entry);
        if (!session || session.ended) return refuse(session ? 'token_revoked' : 'missing_token');
        session.ended = 'token_revoked';
        return send(204, undefined, { 'Set-Cookie': 'refresh=; Max-Age=0' });
      }
      case 'DELETE /sessions':
        for (const session of this.sessions.values()) session.ended ??= 'token_revoked';
        return send(204, undefined, { 'Set-Cookie': 'refresh=; Max-Age=0' });
      case 'GET /elsewhere':
        response.writeHead(302, { Location: this.elsewhere });
        return response.end();
      case 'POST /never-good':
        return refuse('token_expired');
      default: {
        const [, token] = (request.headers.authorization ?? '').split(' ');
        if (!token) return refuse('missing_token');
        const claims = JSON.parse(Buffer.from(token.split('.')[1], 'base64url'));
        if (this.sessions.get(claims.sid).ended) return refuse('token_revoked');
        if (claims.until <= this.clock.true) return refuse('token_expired');
        return send(200, { sub: claims.sub, jti: claims.jti, body });
      }
    }
  }

  /** The session whose refresh token came, in the way that it is delivered. */
  #session({ authorization, cookie }) {
    const inCookie = cookie?.match(/refresh=(\w+)-(\d+)/);
    const inHeader = authorization?.match(/^Bearer (\w+)-(\d+)$/);
    const [, sid, generation] = inCookie ?? inHeader ?? [];
    const session = this.sessions.get(sid);
    if (!session || session.delivery !== (inCookie ? 'cookie' : 'header')) return null;
    session.presented = Number(generation);
    return session;
  }

  #refreshed(entry, send, refuse) {
    const session = this.#session(entry);
    if (!session) return refuse(entry.cookie || entry.authorization ? 'invalid_token' : 'missing_token');
    if (session.ended) return refuse(session.ended);
    if (!this.rotation) return this.#issue(send, session, false);
    const within = this.clock.true < session.rotatedAt + this.grace * 1000;
    if (session.presented === session.generation && !within) {
      session.generation += 1;
      session.rotatedAt = this.clock.true;
    } else if (session.presented !== session.generation && !(within && session.presented === session.generation - 1)) {
      session.ended = 'token_revoked';
      return refuse('refresh_token_reused');
    }
    return this.#issue(send, session);
  }

  #issue(send, session, withRefreshToken = true) {
    const { sid, sub, delivery, generation } = session;
    // The server's time of day has nothing to do with the browser's.
    const iat = 1_000_000;
    const claims = { sub, sid, jti: ++this.#serial, iat, exp: iat + this.lifetime, until: this.clock.true + this.lifetime * 1000 };
    const access_token = ['e30', Buffer.from(JSON.stringify(claims)).toString('base64url'), 'x'].join('.');
    const pair = { access_token, token_type: 'Bearer', expires_in: this.lifetime };
    const headers = {};
    if (withRefreshToken) {
      pair.refresh_expires_in = 3600;
      if (delivery === 'cookie') headers['Set-Cookie'] = `refresh=${sid}-${generation}; HttpOnly`;
      else pair.refresh_token = `${sid}-${generation}`;
    }
    send(200, pair, headers);
  }
}

/** Time as the page has it, which a test moves, and as it is. */
export class Clock {
  true = 0;
  #day = Date.now();
  #monotonic = 1000;
  #real = { day: Date.now, monotonic: performance.now };

  constructor() {
    Date.now = () => this.#day;
    performance.now = () => this.#monotonic;
  }

  advance(seconds) {
    this.true += seconds * 1000;
    this.#day += seconds * 1000;
    this.#monotonic += seconds * 1000;
  }

  /** The time of day is set, forward or back. */
  set(seconds) {
    this.#day += seconds * 1000;
  }

  /** The machine sleeps: only the time of day goes on. */
  sleep(seconds) {
    this.true += seconds * 1000;
    this.#day += seconds * 1000;
  }

  restore() {
    Date.now = this.#real.day;
    performance.now = this.#real.monotonic;
  }
}

/** `localStorage`, as far as it is used. */
export class MemoryStorage {
  items = new Map();
  getItem(key) { return this.items.get(key) ?? null; }
  setItem(key, value) { this.items.set(key, String(value)); }
  removeItem(key) { this.items.delete(key); }
}

/** Web Locks, as far as they are used. */
class Locks {
  #turns = new Map();

  async request(name, options, run) {
    const before = this.#turns.get(name);
    if (before && options.ifAvailable) return run(null);
    const turn = Promise.resolve(before).then(() => {
      options.signal?.throwIfAborted();
      return run({ name });
    });
    const over = turn.catch(() => {}).finally(() => {
      if (this.#turns.get(name) === over) this.#turns.delete(name);
    });
    this.#turns.set(name, over);
    return turn;
  }
}

/** One browser: what all of its pages share. */
export class Browser {
  jar = new Map();
  #fetch = globalThis.fetch;

  constructor() {
    globalThis.localStorage = new MemoryStorage();
    Object.defineProperty(globalThis, 'navigator', { value: { locks: new Locks() }, configurable: true });
    globalThis.fetch = async (input, init) => {
      const request = new Request(input, init);
      const withCookies = request.credentials === 'include';
      const headers = new Headers(request.headers);
      if (withCookies && this.jar.size) headers.set('Cookie', [...this.jar].map((pair) => pair.join('=')).join('; '));
      const answer = await this.#fetch(new Request(request, { headers }));
      for (const cookie of withCookies ? answer.headers.getSetCookie() : []) {
        const [, name, value] = cookie.match(/^(\w+)=([^;]*)/);
        if (/Max-Age=0/.test(cookie)) this.jar.delete(name);
        else this.jar.set(name, value);
      }
      return answer;
    };
  }

  withoutLocks() {
    Object.defineProperty(globalThis, 'navigator', { value: {}, configurable: true });
  }

  close() {
    globalThis.fetch = this.#fetch;
    delete globalThis.localStorage;
  }
}

/** Waits for what another page is to hear of. */
export async function until(condition) {
  for (let turn = 0; turn < 2000; turn++) {
    if (condition()) return;
    await new Promise((resolve) => { setImmediate(resolve); });
  }
  throw new Error('it did not happen');
}
