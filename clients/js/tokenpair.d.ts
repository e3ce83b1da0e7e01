/** There is nobody signed in who could ask. */
export class SignedOutError extends Error {
    constructor();
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
    constructor(status: number, code: string, message: string, errors?: Record<string, string[]>, retryAfter?: number | null);
    status: number;
    code: string;
    errors: Record<string, string[]>;
    retryAfter: number | null;
}
/** Keeps one user signed in. One for each page: `new TokenpairClient({auth, origins})`. */
export class TokenpairClient {
    /** @param {Options} options */
    constructor(options: Options);
    /** Whether this page holds a session, as far as it has heard. After a reload: not before `restore`. */
    get signedIn(): boolean;
    /**
     * The access token as it may be shown, or null.
     * @returns {Token | null}
     */
    get token(): Token | null;
    /**
     * Signs in with a password.
     * @param {string} username
     * @param {string} password
     * @param {{signal?: AbortSignal}} [how]
     * @returns {Promise<Token>}
     * @throws {AuthError} `bad_credentials`, `rate_limited`, `overloaded`, …
     * @throws {TypeError} auth-service cannot be reached.
     */
    login(username: string, password: string, how?: {
        signal?: AbortSignal | undefined;
    } | undefined): Promise<Token>;
    /**
     * Takes up the session of an earlier page: call it once when the page has loaded.
     * @param {{signal?: AbortSignal}} [how]
     * @returns {Promise<boolean>} Whether somebody is signed in.
     * @throws {TypeError} auth-service cannot be reached, so that this is not known; try again later.
     * @throws {AuthError} It can, and has trouble of its own.
     */
    restore(how?: {
        signal?: AbortSignal | undefined;
    } | undefined): Promise<boolean>;
    /**
     * Signs out: ends this session, or all of the user's, and then tells every page of this origin.
     * @param {{everywhere?: boolean, signal?: AbortSignal}} [how]
     * @throws {TypeError} auth-service cannot be reached: the session goes on, and so does this client.
     * @throws {AuthError}
     */
    logout(how?: {
        everywhere?: boolean | undefined;
        signal?: AbortSignal | undefined;
    } | undefined): Promise<void>;
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
    fetch(input: RequestInfo | URL, init?: RequestInit | undefined): Promise<Response>;
    /**
     * The access token itself, refreshed if it is about to expire, for what is no `fetch`, like a WebSocket. Mind whom it is
     * given to.
     * @param {{signal?: AbortSignal}} [how]
     * @returns {Promise<string>}
     */
    accessToken(how?: {
        signal?: AbortSignal | undefined;
    } | undefined): Promise<string>;
    /**
     * A new access token now, whatever is left of the one at hand: for what has changed since, like the user's scope.
     * @param {{signal?: AbortSignal}} [how]
     * @returns {Promise<Token>}
     */
    renew(how?: {
        signal?: AbortSignal | undefined;
    } | undefined): Promise<Token>;
    /** Lets go of what connects this page to the others. The session goes on. */
    close(): void;
    #private;
}
/**
 * How the refresh token comes and goes: in a cookie that no script can read, or in bodies and headers.
 */
export type Delivery = 'cookie' | 'header';
/**
 * What an access token says (RFC 7519), read without checking anything: for display. Services check it.
 */
export type Claims = {
    [claim: string]: unknown;
    sub: string;
    sid?: string | undefined;
    preferred_username?: string | undefined;
    scope?: string | undefined;
    fresh?: boolean | undefined;
    auth_time?: number | undefined;
    iat?: number | undefined;
    exp?: number | undefined;
    jti?: string | undefined;
};
/**
 * An access token as the page may show it.
 */
export type Token = {
    claims: Claims;
    /**
     * Seconds that it is still good for, a fraction included; zero or less when it has expired.
     */
    expiresIn: number;
    /**
     * Seconds until the session ends unless it is refreshed; null when that is not known.
     */
    refreshExpiresIn: number | null;
};
/**
 * How this page came by a token: its user logged in, it asked for a new one, or another page of the origin had one.
 */
export type Source = 'login' | 'refresh' | 'another page';
/**
 * The part of `Storage` that is asked of a place for the refresh token.
 */
export type TokenStorage = Pick<Storage, 'getItem' | 'setItem' | 'removeItem'>;
export type Options = {
    /**
     * Where auth-service is, like `https://auth.example.com`.
     */
    auth: string | URL;
    /**
     * The origins that may be sent the access token besides auth-service's.
     */
    origins?: Iterable<string | URL> | undefined;
    /**
     * `cookie` unless told otherwise.
     */
    delivery?: Delivery | undefined;
    /**
     * With `header`: where the refresh token is kept for all pages of the origin, like
     * `localStorage`. Without one it is in this page's memory and gone with the page.
     */
    storage?: TokenStorage | undefined;
    /**
     * A session begins for this page: by a login here or in another page, or
     * because it was restored.
     */
    onSignedIn?: ((token: Token) => void) | undefined;
    /**
     * The session is over: `logout`, or the code of auth-service's refusal, like
     * `token_revoked`. Not called for a network that fails.
     */
    onSignedOut?: ((reason: string) => void) | undefined;
    /**
     * Every new access token, the first included.
     */
    onToken?: ((token: Token, source: Source) => void) | undefined;
};
export type Pair = {
    access_token: string;
    refresh_token?: string | undefined;
    expires_in: number;
    refresh_expires_in?: number | undefined;
};
export type Held = {
    access: string;
    claims: Claims;
    expiry: Deadline;
    refreshExpiry: Deadline | null;
};
/**
 * A point in time that is reached when either clock says so. The time of day may be set back, and the other one may stand still
 * while the machine sleeps.
 */
declare class Deadline {
    /** @param {number} milliseconds from now */
    constructor(milliseconds: number);
    day: number;
    monotonic: number;
    /** Milliseconds that are left; less than zero afterwards. */
    get left(): number;
}
export {};
