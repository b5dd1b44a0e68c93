/** The REST calls of the client: history pages, and what has no socket event. */

import { asChatError, ChatRequestError, isAuthError, localError } from "./errors.js";
import type { ChatError, Conversation, Message, PresenceEvent, ServerConfig } from "./protocol.js";
import type { TokenSource } from "./token.js";

/** `fetch`, or anything that behaves like it. */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

/** Bounds of a page of history; without any: the newest one. */
export interface PageRequest {
  /** Messages with a smaller `seq`, newest first. */
  before_seq?: number;
  /** Messages with a larger `seq`, oldest first; only one of the two. */
  after_seq?: number;
  /** 1 to 100; 50 by default. */
  limit?: number;
}

const TIMEOUT = 20_000;

/** Every method rejects with a `ChatRequestError`; a refused token is renewed once. */
export class Rest {
  readonly #base: string;
  readonly #fetch: Fetch;
  readonly #tokens: TokenSource;

  constructor(url: string, fetch: Fetch, tokens: TokenSource) {
    this.#base = `${url.replace(/\/+$/, "")}/api/chat`;
    this.#fetch = fetch;
    this.#tokens = tokens;
  }

  /** A page of history, newest first. */
  messages(conversationId: string, page: PageRequest): Promise<Message[]> {
    const query = Object.entries(page).map(([name, value]) => `${name}=${String(value)}`).join("&");
    return this.#call("GET", `/conversations/${encodeURIComponent(conversationId)}/messages?${query}`);
  }

  /** Opens a conversation about a listing, or finds the one that exists. */
  createConversation(listingId: string): Promise<Conversation> {
    return this.#call("POST", "/conversations", { listing_id: listingId });
  }

  /** Archives a conversation for this user, or brings it back. */
  async archive(conversationId: string, archived: boolean): Promise<void> {
    await this.#call("PATCH", `/conversations/${encodeURIComponent(conversationId)}/archive`, { archived });
  }

  /** Presence of a user with whom this one shares a conversation. */
  presence(userId: string): Promise<Omit<PresenceEvent, "timestamp">> {
    return this.#call("GET", `/users/${encodeURIComponent(userId)}/presence`);
  }

  /** The server's limits; they are for everybody to know. */
  async config(): Promise<ServerConfig> {
    return read(await this.#send("/config", { method: "GET", headers: { Accept: "application/json" } }));
  }

  async #call<T>(method: string, path: string, body?: unknown): Promise<T> {
    try {
      return await this.#once<T>(method, path, body, false);
    } catch (error) {
      if (!isAuthError(asChatError(error)) || !this.#tokens.isRenewable) throw error;
      return this.#once<T>(method, path, body, true);
    }
  }

  async #once<T>(method: string, path: string, body: unknown, isRenewal: boolean): Promise<T> {
    const token = await this.#tokens.get(isRenewal);
    return read(await this.#send(path, {
      method,
      headers: {
        Accept: "application/json",
        Authorization: `Bearer ${token}`,
        ...(body === undefined ? {} : { "Content-Type": "application/json" }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    }));
  }

  async #send(path: string, init: RequestInit): Promise<Response> {
    const abort = new AbortController();
    const timer = setTimeout(() => { abort.abort(); }, TIMEOUT);
    try {
      return await this.#fetch(this.#base + path, { ...init, signal: abort.signal });
    } catch {
      throw localError(abort.signal.aborted ? "timeout" : "offline");
    } finally {
      clearTimeout(timer);
    }
  }
}

async function read<T>(response: Response): Promise<T> {
  if (!response.ok) throw await failure(response);
  return (await response.json()) as T;
}

const TOO_MANY_REQUESTS = 429;

/** The error object of a problem+json body; of a proxy's own page what its status says. */
async function failure(response: Response): Promise<ChatRequestError> {
  const { status } = response;
  const problem = (await response.json().catch(() => undefined)) as Partial<ChatError> | undefined;
  const isTemporary = status === TOO_MANY_REQUESTS || status >= 502;
  const guess = status === TOO_MANY_REQUESTS ? "rate_limited" : isTemporary ? "unavailable" : "internal_error";
  const retryAfter = problem?.retry_after ?? seconds(response.headers.get("Retry-After"));
  return new ChatRequestError({
    code: problem?.code ?? guess,
    detail: problem?.detail ?? `The server answered ${status}.`,
    retryable: problem?.retryable ?? isTemporary,
    ...(retryAfter === undefined ? {} : { retry_after: retryAfter }),
    ...(problem?.fields === undefined ? {} : { fields: problem.fields }),
  });
}

/** `Retry-After` in its usual form; a date says nothing on a device whose clock is wrong. */
function seconds(header: string | null): number | undefined {
  return header !== null && /^\d+$/.test(header) ? Number(header) : undefined;
}
