/**
 * Keeps a user of a browser frontend signed in at a Tokenpair auth-service, and sends their access token to the services that
 * it is for. One ES module without dependencies; README.md beside it says how it is used.
 *
 * The access token is held in memory alone. The refresh token is in a cookie that no script can read, or, where the frontend is
 * on another site than auth-service, in memory or in a storage that the caller hands in.
 */

/**
 * How the refresh token comes and goes: in a cookie that no script can read, or in bodies and headers.
 * @typedef {'cookie' | 'header'} Delivery
 */

/**
 * What an access token says (RFC 7519), read without checking anything: for display. Services check it.
 * @typedef {{sub: string, sid?: string, preferred_username?: string, scope?: string, fresh?: boolean, auth_time?: number,
 *   iat?: number, exp?: number, jti?: string, [claim: string]: unknown}} Claims
 */

/**
 * An access token as the page may show it.
 * @typedef {object} Token
 * @property {Claims} claims
 * @property {number} expiresIn Seconds that it is still good for, a fraction included; zero or less when it has expired.
 * @property {number | null} refreshExpiresIn Seconds until the session ends unless it is refreshed; null when that is not known.
 */

/**
 * How this page came by a token: its user logged in, it asked for a new one, or another page of the origin had one.
 * @typedef {'login' | 'refresh' | 'another page'} Source
 */

/**
 * The part of `Storage` that is asked of a place for the refresh token.
 * @typedef {Pick<Storage, 'getItem' | 'setItem' | 'removeItem'>} TokenStorage
 */

/**
 * @typedef {object} Options
 * @property {string | URL} auth Where auth-service is, like `https://auth.example.com`.
 * @property {Iterable<string | URL>} [origins] The origins that may be sent the access token besides auth-service's.
 * @property {Delivery} [delivery] `cookie` unless told otherwise.
 * @property {TokenStorage} [storage] With `header`: where the refresh token is kept for all pages of the origin, like
 *   `localStorage`. Without one it is in this page's memory and gone with the page.
 * @property {(token: Token) => void} [onSignedIn] A session begins for this page: by a login here or in another page, or
 *   because it was restored.
 * @property {(reason: string) => void} [onSignedOut] The session is over: `logout`, or the code of auth-service's refusal, like
 *   `token_revoked`. Not called for a network that fails.
 * @property {(token: Token, source: Source) => void} [onToken] Every new access token, the first included.
 */

/**
 * @typedef {object} Pair
 * @property {string} access_token
 * @property {string} [refresh_token]
 * @property {number} expires_in
 * @property {number} [refresh_expires_in]
 */

/**
 * @typedef {object} Held
 * @property {string} access
 * @property {Claims} claims
 * @property {Deadline} expiry
 * @property {Deadline | null} refreshExpiry
 */

/** A refresh that is not answered by then has failed: whoever waits for it must not wait for ever. */
const REFRESH_TIMEOUT = 10_000;
/** A token is refreshed this long before it expires, or in the last fifth of its life if that is shorter. */
const MARGIN = 30_000;
/** While a token is still good, a refresh that failed is not tried again for this long. */
const PAUSE = 1_000;
/** What another page has to tell is here by then, or it has nothing to tell. */
const NEWS = 250;

/** There is nobody signed in who could ask. */
export class SignedOutError extends Error {
  constructor() {
    super('Nobody is signed in');
    this.name = 'SignedOutError';
  }
}

/** auth-service answered with an error. */
export class AuthError extends Error {
  /**
   * @param {number} status The HTTP status.
   * @param {string} code The stable slug, like `bad_credentials`; `unknown` when the answer has none.
   * @param {string} message The sentence for people.
   * @param {Record<string, string[]>} errors With 400: what is wrong with which field.
   * @param {number | null} retryAfter With 429 and 503: seconds to wait before another try.
   */
  constructor(status, code, message, errors = {}, retryAfter = null) {
    super(message);
    this.name = 'AuthError';
    this.status = status;
    this.code = code;
    this.errors = errors;
    this.retryAfter = retryAfter;
  }
}

/**
 * A point in time that is reached when either clock says so. The time of day may be set back, and the other one may stand still
 * while the machine sleeps.
 */
class Deadline {
  /** @param {number} milliseconds from now */
  constructor(milliseconds) {
    this.day = Date.now() + milliseconds;
    this.monotonic = performance.now() + milliseconds;
  }

  /** Milliseconds that are left; less than zero afterwards. */
  get left() {
    return Math.min(this.day - Date.now(), this.monotonic - performance.now());
  }
}

/** Keeps one user signed in. One for each page: `new TokenpairClient({auth, origins})`. */
export class TokenpairClient {
  #auth;
  #origins;
  /** @type {Delivery} */
  #delivery;
  /** @type {TokenStorage | null} */
  #storage;
  /** Whether other pages of the origin have the same session. */
  #shared;
  /** @type {string} */
  #name;
  #options;
  /** @type {BroadcastChannel | null} */
  #channel = null;
  /** @type {string | null} */
  #refreshToken = null;
  /** @type {Held | null} */
  #held = null;
  /** @type {Promise<void> | null} */
  #refreshing = null;
  /** Ends when this page's next login, refresh or logout may begin, where the browser has no locks. */
  #turn = Promise.resolve();
  /** @type {{until: Deadline, error: unknown} | null} */
  #pause = null;
  /** Called when another page has told something. */
  #heard = () => {};

  /** @param {Options} options */
  constructor(options) {
    const { auth, origins = [], delivery = 'cookie', storage = null } = options;
    if (delivery !== 'cookie' && delivery !== 'header') throw new TypeError(`delivery: '${delivery}' is neither 'cookie' nor 'header'`);
    if (delivery === 'cookie' && storage) throw new TypeError('storage: with a cookie there is nothing to store');
    this.#auth = new URL(auth);
    if (!/^https?:$/.test(this.#auth.protocol)) throw new TypeError(`auth: '${auth}' is no address of a web service`);
    if (!this.#auth.pathname.endsWith('/')) this.#auth.pathname += '/';
    this.#origins = new Set([this.#auth.origin]);
    for (const origin of origins) this.#origins.add(new URL(origin).origin);
    this.#delivery = delivery;
    this.#storage = storage;
    this.#shared = delivery === 'cookie' || storage !== null;
    this.#name = `tokenpair ${this.#auth.href} ${delivery}`;
    this.#options = options;
    if (this.#shared && typeof BroadcastChannel === 'function') {
      this.#channel = new BroadcastChannel(this.#name);
      this.#channel.onmessage = (event) => this.#hear(event.data);
    }
  }

  /** Whether this page holds a session, as far as it has heard. After a reload: not before `restore`. */
  get signedIn() {
    return this.#held !== null;
  }

  /**
   * The access token as it may be shown, or null.
   * @returns {Token | null}
   */
  get token() {
    if (!this.#held) return null;
    const { claims, expiry, refreshExpiry } = this.#held;
    return { claims, expiresIn: expiry.left / 1000, refreshExpiresIn: refreshExpiry && refreshExpiry.left / 1000 };
  }

  /**
   * Signs in with a password.
   * @param {string} username
   * @param {string} password
   * @param {{signal?: AbortSignal}} [how]
   * @returns {Promise<Token>}
   * @throws {AuthError} `bad_credentials`, `rate_limited`, `overloaded`, …
   * @throws {TypeError} auth-service cannot be reached.
   */
  async login(username, password, how = {}) {
    const { signal } = how;
    return this.#alone(async () => {
      const began = { day: Date.now(), monotonic: performance.now() };
      const body = JSON.stringify({ username, password, delivery: this.#delivery });
      const headers = { 'Content-Type': 'application/json' };
      const answer = await this.#ask('login', { method: 'POST', headers, body, signal });
      if (!answer.ok) throw await refusal(answer);
      return this.#take(await answer.json(), began, 'login');
    }, signal);
  }

  /**
   * Takes up the session of an earlier page: call it once when the page has loaded.
   * @param {{signal?: AbortSignal}} [how]
   * @returns {Promise<boolean>} Whether somebody is signed in.
   * @throws {TypeError} auth-service cannot be reached, so that this is not known; try again later.
   * @throws {AuthError} It can, and has trouble of its own.
   */
  async restore(how = {}) {
    if (this.#held) return true;
    if (!this.#mayHaveSession()) return false;
    try {
      await this.#refresh(null, how.signal);
    } catch (error) {
      if (error instanceof SignedOutError) return false;
      throw error;
    }
    return true;
  }

  /**
   * Signs out: ends this session, or all of the user's, and then tells every page of this origin.
   * @param {{everywhere?: boolean, signal?: AbortSignal}} [how]
   * @throws {TypeError} auth-service cannot be reached: the session goes on, and so does this client.
   * @throws {AuthError}
   */
  async logout(how = {}) {
    const { everywhere = false, signal } = how;
    if (!this.#mayHaveSession()) return;
    if (everywhere) {
      try {
        const answer = await this.fetch(this.#at('sessions'), { method: 'DELETE', credentials: this.#credentials(), signal });
        if (!answer.ok) throw await refusal(answer);
      } catch (error) {
        if (error instanceof SignedOutError) return;
        throw error;
      }
    }
    await this.#alone(async () => {
      const session = this.#held?.claims.sid;
      if (!everywhere) {
        const answer = await this.#ask('logout', { method: 'POST', headers: this.#presented(), signal });
        // A session that auth-service does not take any more is over, whoever ended it.
        if (!answer.ok && answer.status !== 401) throw await refusal(answer);
        await drain(answer);
      }
      this.#leave('logout');
      this.#tell({ type: 'signed-out', session, reason: 'logout' });
    }, signal);
  }

  /**
   * `fetch` with the access token. It is refreshed first when it is about to expire, and once when the service says
   * `token_expired`. Redirects are not followed, as they may lead to another origin.
   * @param {RequestInfo | URL} input
   * @param {RequestInit} [init]
   * @returns {Promise<Response>}
   * @throws {TypeError} The origin is not in the list, or the network fails.
   * @throws {SignedOutError} Nobody is signed in.
   * @throws {AuthError} A new token is needed and auth-service does not give one at the moment.
   */
  async fetch(input, init) {
    let request = new Request(input, init);
    const { origin } = new URL(request.url);
    if (!this.#origins.has(origin)) throw new TypeError(`${origin} is not among the origins that may be sent the access token`);
    if (request.redirect === 'follow') request = new Request(request, { redirect: 'error' });
    const { signal } = request;
    signal.throwIfAborted();

    const first = await this.#usable(signal);
    const again = request.clone();
    const answer = await fetch(authorized(request, first.access));
    if (answer.status !== 401) return answer;
    const code = await codeOf(answer);
    if (code !== 'token_expired' && code !== 'token_revoked') return answer;
    await drain(answer);
    // Of a session that is over no newer token helps. Whether it is over, auth-service knows.
    const ours = code === 'token_revoked' && this.#held?.claims.sid === first.claims.sid;
    await this.#refresh(ours ? this.#held : first, signal);
    return fetch(authorized(again, (await this.#usable(signal)).access));
  }

  /**
   * The access token itself, refreshed if it is about to expire, for what is no `fetch`, like a WebSocket. Mind whom it is
   * given to.
   * @param {{signal?: AbortSignal}} [how]
   * @returns {Promise<string>}
   */
  async accessToken(how = {}) {
    return (await this.#usable(how.signal)).access;
  }

  /**
   * A new access token now, whatever is left of the one at hand: for what has changed since, like the user's scope.
   * @param {{signal?: AbortSignal}} [how]
   * @returns {Promise<Token>}
   */
  async renew(how = {}) {
    if (!this.#held && !this.#mayHaveSession()) throw new SignedOutError();
    await this.#refresh(this.#held, how.signal);
    return /** @type {Token} */ (this.token);
  }

  /** Lets go of what connects this page to the others. The session goes on. */
  close() {
    this.#channel?.close();
    this.#channel = null;
  }

  /**
   * @param {AbortSignal} [signal]
   * @returns {Promise<Held>}
   */
  async #usable(signal) {
    const held = this.#held;
    if (held) {
      if (held.expiry.left > Math.min(MARGIN, lifetime(held.claims) / 5)) return held;
      try {
        await this.#refresh(held, signal);
      } catch (error) {
        // auth-service is away or in trouble, and the token is good for a little while yet.
        if (held.expiry.left > 0 && this.#held === held && !signal?.aborted) return held;
        throw error;
      }
    } else if (this.#mayHaveSession()) {
      await this.#refresh(null, signal);
    }
    if (!this.#held) throw new SignedOutError();
    return this.#held;
  }

  /**
   * A new token in place of this one. All who ask at once wait for one answer; who stops waiting does not stop it, for it may
   * have used up the refresh token already.
   * @param {Held | null} old
   * @param {AbortSignal} [signal]
   */
  async #refresh(old, signal) {
    if (this.#held && this.#held !== old) return;
    if (this.#pause && this.#pause.until.left > 0) throw this.#pause.error;
    if (!this.#refreshing) {
      const refreshing = this.#alone((waited) => this.#exchange(old, waited)).finally(() => { this.#refreshing = null; });
      // Whoever waits hears of it; nobody may be waiting any more.
      refreshing.catch(() => {});
      this.#refreshing = refreshing;
    }
    await abortable(this.#refreshing, signal);
  }

  /**
   * @param {Held | null} old
   * @param {boolean} waited Whether another page had its turn before.
   */
  async #exchange(old, waited) {
    // The other page tells what it got, and that may take a little longer than its turn.
    if (waited && this.#held === old) await this.#news();
    if (this.#held && this.#held !== old) return;
    if (!this.#mayHaveSession()) {
      this.#leave('missing_token');
      throw new SignedOutError();
    }
    const began = { day: Date.now(), monotonic: performance.now() };
    try {
      const answer = await this.#ask('refresh', { method: 'POST', headers: this.#presented(), signal: timeout(REFRESH_TIMEOUT) });
      if (!answer.ok) throw await refusal(answer);
      this.#take(await answer.json(), began, 'refresh');
      this.#pause = null;
    } catch (error) {
      if (error instanceof AuthError && error.status === 401) {
        const session = this.#held?.claims.sid;
        this.#leave(error.code);
        this.#tell({ type: 'signed-out', session, reason: error.code });
        throw new SignedOutError();
      }
      const wait = error instanceof AuthError && error.retryAfter !== null ? error.retryAfter * 1000 : PAUSE;
      this.#pause = { until: new Deadline(wait), error };
      throw error;
    }
  }

  /**
   * Runs one login, refresh or logout at a time among all pages that share the session: their answers set the same cookie.
   * @template T
   * @param {(waited: boolean) => Promise<T>} what Is told whether another page had its turn before.
   * @param {AbortSignal} [signal]
   * @returns {Promise<T>}
   */
  async #alone(what, signal) {
    const locks = this.#shared ? globalThis.navigator?.locks : undefined;
    if (locks) {
      /** @type {Promise<T> | undefined} */
      let now;
      await locks.request(this.#name, { ifAvailable: true }, (lock) => {
        if (lock) now = what(false);
        return now;
      });
      if (now) return now;
      return await locks.request(this.#name, signal ? { signal } : {}, () => what(true));
    }
    const before = this.#turn;
    /** @type {() => void} */
    let done = () => {};
    this.#turn = new Promise((resolve) => { done = () => resolve(undefined); });
    try {
      await abortable(before, signal);
      return await what(false);
    } finally {
      before.then(done);
    }
  }

  /**
   * @param {string} path
   * @param {RequestInit} init
   */
  #ask(path, init) {
    return fetch(this.#at(path), { ...init, credentials: this.#credentials(), cache: 'no-store', redirect: 'error' });
  }

  /** @returns {RequestCredentials} */
  #credentials() {
    return this.#delivery === 'cookie' ? 'include' : 'omit';
  }

  /** The refresh token, where the browser does not present it by itself. */
  #presented() {
    const token = this.#delivery === 'header' ? this.#currentRefreshToken() : null;
    return token === null ? undefined : bearer(token);
  }

  /** @param {string} path */
  #at(path) {
    return new URL(path, this.#auth);
  }

  /**
   * @param {Pair} pair
   * @param {{day: number, monotonic: number}} began When it was asked for: the server counted from later on.
   * @param {Source} source
   * @returns {Token}
   */
  #take(pair, began, source) {
    if (this.#delivery === 'header' && pair.refresh_token) {
      if (this.#storage) this.#storage.setItem(this.#name, pair.refresh_token);
      else this.#refreshToken = pair.refresh_token;
    }
    if (this.#delivery === 'cookie') hint()?.setItem(this.#name, 'signed in');
    const held = hold(pair.access_token, pair.expires_in, pair.refresh_expires_in ?? null, began);
    this.#tell({ type: 'token', access: held.access, day: began.day, expiresIn: pair.expires_in, refreshExpiresIn: pair.refresh_expires_in ?? null });
    return this.#adopt(held, source);
  }

  /**
   * @param {Held} held
   * @param {Source} source
   * @returns {Token}
   */
  #adopt(held, source) {
    const before = this.#held;
    // With rotation off, a refresh does not say again when the session ends.
    if (!held.refreshExpiry && before?.claims.sid === held.claims.sid) held.refreshExpiry = before?.refreshExpiry ?? null;
    this.#held = held;
    const token = /** @type {Token} */ (this.token);
    if (before?.claims.sid !== held.claims.sid || !before) this.#options.onSignedIn?.(token);
    this.#options.onToken?.(token, source);
    return token;
  }

  /** @param {string} reason */
  #leave(reason) {
    const wasSignedIn = this.#held !== null || this.#mayHaveSession();
    this.#held = null;
    this.#refreshToken = null;
    this.#pause = null;
    this.#storage?.removeItem(this.#name);
    if (this.#delivery === 'cookie') hint()?.removeItem(this.#name);
    if (wasSignedIn) this.#options.onSignedOut?.(reason);
  }

  /** Whether asking for a token is worth a request: a page whose user never signed in makes none. */
  #mayHaveSession() {
    if (this.#delivery === 'header') return this.#currentRefreshToken() !== null;
    const storage = hint();
    return !storage || storage.getItem(this.#name) !== null;
  }

  /** The newest, which another page may have put there. */
  #currentRefreshToken() {
    return this.#storage ? this.#storage.getItem(this.#name) : this.#refreshToken;
  }

  /** Waits until another page has told something. */
  async #news() {
    if (!this.#channel) return;
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, NEWS);
      this.#heard = () => {
        clearTimeout(timer);
        resolve(undefined);
      };
    });
  }

  /** @param {object} message */
  #tell(message) {
    this.#channel?.postMessage(message);
  }

  /**
   * What another page of this origin tells.
   * @param {any} message
   */
  #hear(message) {
    if (message?.type === 'token') {
      // A page may hear of it long after it was said. Both pages have the same time of day.
      const late = Math.max(0, Date.now() - message.day);
      const began = { day: message.day, monotonic: performance.now() - late };
      const held = hold(message.access, message.expiresIn, message.refreshExpiresIn, began);
      this.#pause = null;
      this.#adopt(held, 'another page');
    } else if (message?.type === 'signed-out') {
      const ours = this.#held?.claims.sid;
      // A session that began since is another one.
      if (ours && (!message.session || message.session === ours)) {
        this.#held = null;
        this.#options.onSignedOut?.(message.reason);
      }
    }
    this.#heard();
  }
}

/**
 * @param {string} access
 * @param {number} expiresIn
 * @param {number | null} refreshExpiresIn
 * @param {{day: number, monotonic: number}} began
 * @returns {Held}
 */
function hold(access, expiresIn, refreshExpiresIn, began) {
  const passed = Math.max(Date.now() - began.day, performance.now() - began.monotonic, 0);
  const after = (/** @type {number} */ seconds) => new Deadline(seconds * 1000 - passed);
  return {
    access,
    claims: claimsOf(access),
    expiry: after(expiresIn),
    refreshExpiry: refreshExpiresIn === null ? null : after(refreshExpiresIn),
  };
}

/**
 * How long a token is good altogether, in milliseconds, as its issuer says.
 * @param {Claims} claims
 */
function lifetime({ iat, exp }) {
  return iat !== undefined && exp !== undefined ? (exp - iat) * 1000 : Infinity;
}

/**
 * @param {string} token
 * @returns {Claims}
 */
function claimsOf(token) {
  const payload = token.split('.')[1].replace(/-/g, '+').replace(/_/g, '/');
  const bytes = Uint8Array.from(atob(payload), (character) => character.charCodeAt(0));
  return JSON.parse(new TextDecoder().decode(bytes));
}

/** @param {string} token */
function bearer(token) {
  return { Authorization: `Bearer ${token}` };
}

/**
 * @param {Request} request
 * @param {string} token
 */
function authorized(request, token) {
  const headers = new Headers(request.headers);
  headers.set('Authorization', `Bearer ${token}`);
  return new Request(request, { headers });
}

/**
 * The slug of an error; the answer itself is left to be read.
 * @param {Response} answer
 * @returns {Promise<string>}
 */
async function codeOf(answer) {
  const body = await answer.clone().json().catch(() => null);
  return typeof body?.code === 'string' ? body.code : 'unknown';
}

/** @param {Response} answer */
async function refusal(answer) {
  const body = await answer.json().catch(() => null);
  const code = typeof body?.code === 'string' ? body.code : 'unknown';
  const message = typeof body?.msg === 'string' ? body.msg : `auth-service answered with ${answer.status}`;
  const after = Number.parseInt(answer.headers.get('Retry-After') ?? '', 10);
  return new AuthError(answer.status, code, message, body?.errors ?? {}, Number.isNaN(after) ? null : after);
}

/**
 * An answer that nobody reads holds its connection.
 * @param {Response} answer
 */
async function drain(answer) {
  await answer.body?.cancel().catch(() => {});
}

/**
 * @param {number} milliseconds
 * @returns {AbortSignal}
 */
function timeout(milliseconds) {
  return /** @type {any} */ (AbortSignal).timeout(milliseconds);
}

/**
 * @template T
 * @param {Promise<T>} promise
 * @param {AbortSignal} [signal]
 * @returns {Promise<T>}
 */
function abortable(promise, signal) {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) return abort();
    signal.addEventListener('abort', abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}

/** Where it is noted, for later pages, that there is a cookie; it is no secret. A browser may refuse the storage. */
function hint() {
  try {
    return globalThis.localStorage ?? null;
  } catch {
    return null;
  }
}
