/** The REST calls of the client: history pages, files, and what has no socket event. */

import { asChatError, ChatRequestError, isAuthError, localError } from "./errors.js";
import type { Attachment, ChatError, Conversation, Message, PresenceEvent } from "./protocol.js";
import type { TokenSource } from "./token.js";

/** `fetch`, or anything that behaves like it. */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

/** Which page of history; without any: the newest one. */
export interface PageRequest {
  /** Messages with a smaller `seq`. */
  before_seq?: number;
  /** 1 to 100; 50 by default. */
  limit?: number;
}

const TIMEOUT = 20_000;
const UPLOAD_TIMEOUT = 300_000;

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

  /** Whether a user is online with whom this one shares a conversation. */
  presence(userId: string): Promise<Omit<PresenceEvent, "timestamp">> {
    return this.#call("GET", `/users/${encodeURIComponent(userId)}/presence`);
  }

  /** Uploads a file; send its `id` as a message's attachment afterwards. */
  upload(conversationId: string, file: Blob, fileName: string): Promise<Attachment> {
    const form = new FormData();
    form.append("file", file, fileName);
    return this.#call("POST", `/conversations/${encodeURIComponent(conversationId)}/attachments`, form);
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
    const isForm = body instanceof FormData;
    const response = await this.#send(path, {
      method,
      headers: {
        Accept: "application/json",
        Authorization: `Bearer ${token}`,
        ...(body === undefined || isForm ? {} : { "Content-Type": "application/json" }),
      },
      ...(body === undefined ? {} : { body: isForm ? body : JSON.stringify(body) }),
    }, isForm ? UPLOAD_TIMEOUT : TIMEOUT);
    if (!response.ok) throw await failure(response);
    return (await response.json()) as T;
  }

  async #send(path: string, init: RequestInit, timeout: number): Promise<Response> {
    const abort = new AbortController();
    const timer = setTimeout(() => { abort.abort(); }, timeout);
    try {
      return await this.#fetch(this.#base + path, { ...init, signal: abort.signal });
    } catch {
      throw localError(abort.signal.aborted ? "timeout" : "offline");
    } finally {
      clearTimeout(timer);
    }
  }
}

/** The error object of a problem+json body; a proxy's own page becomes `unavailable` or `internal_error`. */
async function failure(response: Response): Promise<ChatRequestError> {
  const problem = (await response.json().catch(() => undefined)) as Partial<ChatError> | undefined;
  const isTemporary = response.status === 429 || response.status >= 502;
  return new ChatRequestError({
    code: problem?.code ?? (isTemporary ? "unavailable" : "internal_error"),
    detail: problem?.detail ?? `The server answered ${response.status}.`,
    retryable: problem?.retryable ?? isTemporary,
    ...(problem?.retry_after === undefined ? {} : { retry_after: problem.retry_after }),
    ...(problem?.fields === undefined ? {} : { fields: problem.fields }),
  });
}
