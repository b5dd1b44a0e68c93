/** Keeps one connection alive: connects, comes back after every loss, and renews the token. */

import { Backoff } from "./backoff.js";
import { asChatError, ChatRequestError, isAuthError, localError } from "./errors.js";
import type { Logger } from "./logger.js";
import { Value, type Store } from "./observable.js";
import { Pause } from "./pause.js";
import type { ChatError, Requests } from "./protocol.js";
import { readClaims, type TokenSource } from "./token.js";
import { ACK_TIMEOUT, type Link, type ServerEvent, type Transport, type TransportFactory } from "./transport.js";

/** `connecting`: an attempt is under way; `offline`: waiting for the next one; `closed`: it stays so. */
export type ConnectionStatus = "connecting" | "online" | "offline" | "closed";

/** The connection as an application may show it. */
export interface ConnectionState {
  status: ConnectionStatus;
  /** Why it is `offline` or `closed`: socket.io's reason, an error code, or null. */
  reason: string | null;
  /** The error behind the reason, where there is one. */
  error: ChatError | null;
  /** Time of the next attempt (ms since 1970), while `offline`. */
  retryAt: number | null;
}

/** Listener of the rest of the client to a connection. */
export interface ConnectionListener {
  /** Whose token it is; told once, before the first attempt. */
  identified(userId: string): void;
  online(): void;
  offline(): void;
  event(event: ServerEvent): void;
}

const ATTEMPT_TIMEOUT = 15_000;
const STABLE_AFTER = 5_000;
const RENEW_BEFORE = 60_000;
const MAX_TIMER = 2 ** 31 - 1;
const MAX_REFUSALS = 5;
const CLOSED: ConnectionState = { status: "closed", reason: null, error: null, retryAt: null };
const FOREIGN: ChatError = {
  code: "unauthorized",
  detail: "The token names no user, or another one than before.",
  retryable: false,
};

/** See `ChatClient` for how it behaves; `userId` is whose tokens are accepted. */
export class Connection implements Link {
  readonly #state = new Value<ConnectionState>(CLOSED);
  readonly #backoff = new Backoff({ base: 1_000, cap: 5_000 });
  /** A node that restarts spreads its clients itself, and another one has room: sooner, however often. */
  readonly #restarts = new Backoff({ base: 500, cap: 500 });
  readonly #transport: Transport;
  readonly #tokens: TokenSource;
  readonly #listener: ConnectionListener;
  readonly #logger: Logger;
  /** Pause that a refused handshake, or the error before a connection's end, asked for. */
  readonly #pause = new Pause();
  #userId: string | undefined;
  #attempt = 0;
  #refusals = 0;
  #needsNewToken = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #stable: ReturnType<typeof setTimeout> | undefined;
  #renewal: ReturnType<typeof setTimeout> | undefined;

  constructor(factory: TransportFactory, tokens: TokenSource, listener: ConnectionListener, logger: Logger) {
    this.#tokens = tokens;
    this.#listener = listener;
    this.#logger = logger;
    this.#transport = factory({
      connected: () => { this.#connected(); },
      failed: (error) => { this.#failed(error); },
      disconnected: (reason, isRestart) => { this.#disconnected(reason, isRestart); },
      event: (event) => { this.#event(event); },
    });
  }

  get state(): Store<ConnectionState> {
    return this.#state;
  }

  get isOnline(): boolean {
    return this.#state.getSnapshot().status === "online";
  }

  /** Starts, unless it is started already; `userId` refuses tokens of anyone else. */
  connect(userId?: string): void {
    this.#userId ??= userId;
    if (this.#state.getSnapshot().status !== "closed") return;
    this.#refusals = 0;
    this.#backoff.reset();
    if (this.#pause.left > 0) this.#waitAndRetry("rate_limited", null);
    else void this.#try();
  }

  /** Tries at once instead of waiting, for example because the network is back; not before a rate limit ends. */
  wake(): void {
    if (this.#state.getSnapshot().status === "offline" && this.#pause.left === 0) void this.#try();
  }

  /** Gives this connection up and makes another one: it looks dead. */
  restart(reason: string): void {
    if (!this.isOnline) return;
    this.#transport.close();
    this.#disconnected(reason);
  }

  /** Ends it for good, until `connect` is called again. */
  close(reason: string | null = null, error: ChatError | null = null): void {
    this.#attempt += 1;
    this.#clearTimers();
    const wasOnline = this.isOnline;
    this.#transport.close();
    this.#state.set({ ...CLOSED, reason, error });
    if (wasOnline) this.#listener.offline();
  }

  request<E extends keyof Requests>(event: E, payload: Requests[E][0], timeoutMs = ACK_TIMEOUT): Promise<Requests[E][1]> {
    if (!this.isOnline) return Promise.reject(localError("offline"));
    return this.#transport.request(event, payload, timeoutMs);
  }

  send<E extends keyof Requests>(event: E, payload: Requests[E][0]): void {
    if (this.isOnline) this.#transport.send(event, payload);
  }

  /** Sends a fresh token over the open connection, so that it outlives the old one. */
  async renew(): Promise<void> {
    const attempt = this.#attempt;
    try {
      const token = await this.#tokens.get(true);
      if (attempt !== this.#attempt || !this.isOnline) return;
      if (!this.#identify(readClaims(token).sub)) {
        this.close("unauthorized", FOREIGN);
        return;
      }
      await this.request("authenticate", { token });
      this.#needsNewToken = false;
      this.#scheduleRenewal(false);
    } catch (error) {
      const failure = asChatError(error);
      this.#logger.warn("The token could not be renewed", failure.toJSON());
      if (attempt === this.#attempt) this.#scheduleRenewal(true, failure.retryAfter);
    }
  }

  async #try(): Promise<void> {
    const attempt = ++this.#attempt;
    this.#clearTimers();
    this.#state.set({ status: "connecting", reason: null, error: null, retryAt: null });
    try {
      const token = await this.#tokens.get(this.#needsNewToken);
      if (attempt !== this.#attempt) return;
      if (!this.#identify(readClaims(token).sub)) {
        this.close("unauthorized", FOREIGN);
        return;
      }
      this.#timer = setTimeout(() => { this.#attemptTimedOut(); }, ATTEMPT_TIMEOUT);
      this.#transport.open(token);
    } catch (error) {
      if (attempt === this.#attempt) this.#waitAndRetry("token_provider", asChatError(error).toJSON());
    }
  }

  /** One client is one user: what it holds of one must never be shown to another. */
  #identify(sub: string | undefined): boolean {
    if (this.#userId === undefined && sub !== undefined) {
      this.#userId = sub;
      this.#listener.identified(sub);
    }
    return this.#userId !== undefined && (sub ?? this.#userId) === this.#userId;
  }

  #attemptTimedOut(): void {
    this.#transport.close();
    this.#failed(localError("timeout").toJSON());
  }

  #connected(): void {
    this.#clearTimers();
    this.#refusals = 0;
    this.#needsNewToken = false;
    this.#stable = setTimeout(() => { this.#backoff.reset(); }, STABLE_AFTER);
    this.#scheduleRenewal(false);
    this.#state.set({ status: "online", reason: null, error: null, retryAt: null });
    this.#listener.online();
  }

  #failed(error: ChatError): void {
    this.#logger.debug("The connection was refused or failed", error);
    this.#pause.note(new ChatRequestError(error));
    if (!isAuthError(error)) {
      this.#waitAndRetry(error.code, error);
      return;
    }
    this.#refusals += 1;
    this.#needsNewToken = true;
    if (!this.#tokens.isRenewable || this.#refusals >= MAX_REFUSALS) this.close(error.code, error);
    else this.#waitAndRetry(error.code, error);
  }

  #disconnected(reason: string, isRestart = false): void {
    if (!this.isOnline) return;
    this.#logger.debug("The connection was lost", { reason });
    if (this.#needsNewToken && !this.#tokens.isRenewable) {
      const error: ChatError = { code: "token_expired", detail: "The token has expired.", retryable: false };
      this.close("token_expired", error);
      return;
    }
    this.#waitAndRetry(this.#needsNewToken ? "token_expired" : reason, null, isRestart ? this.#restarts : this.#backoff);
    this.#listener.offline();
  }

  #event(event: ServerEvent): void {
    if (event.name === "error" && isAuthError(event.payload)) this.#needsNewToken = true;
    if (event.name === "error") this.#pause.note(new ChatRequestError(event.payload));
    this.#listener.event(event);
  }

  #waitAndRetry(reason: string, error: ChatError | null, backoff = this.#backoff): void {
    this.#attempt += 1;
    this.#clearTimers();
    const wait = backoff.next(this.#pause.left);
    this.#state.set({ status: "offline", reason, error, retryAt: Date.now() + wait });
    this.#timer = setTimeout(() => { void this.#try(); }, wait);
  }

  /** A minute before the end, halfway through a short life; a clock that says "expired" is not believed. */
  #scheduleRenewal(isRetry: boolean, retryAfter = 0): void {
    clearTimeout(this.#renewal);
    const { exp } = readClaims(this.#tokens.current ?? "");
    if (exp === undefined || !this.#tokens.isRenewable) return;
    const left = exp * 1000 - Date.now();
    if (left <= 0) return;
    const early = left > 2 * RENEW_BEFORE ? left - RENEW_BEFORE : left / 2;
    const wait = Math.max(1_000, retryAfter * 1000, isRetry ? Math.min(early, RENEW_BEFORE / 4) : early);
    if (wait < MAX_TIMER) this.#renewal = setTimeout(() => { void this.renew(); }, wait);
  }

  #clearTimers(): void {
    clearTimeout(this.#timer);
    clearTimeout(this.#stable);
    clearTimeout(this.#renewal);
  }
}
