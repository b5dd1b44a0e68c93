/** Errors as one class: answers of the server and failures on the way to it. */

import type { ChatError } from "./protocol.js";

const RATE_LIMITED = "rate_limited";

/**
 * A request that failed. `code` is one of the server's (`rate_limited`, …) or the
 * client's own: `offline` (never sent), `timeout` and `disconnected` (sent, but
 * whether it took effect is unknown), `closed` (the client was closed).
 */
export class ChatRequestError extends Error {
  override readonly name = "ChatRequestError";
  readonly code: string;
  /** True if the same request may succeed later. */
  readonly retryable: boolean;
  /** Seconds to wait before trying again, when the server said so. */
  readonly retryAfter: number | undefined;
  /** Problems of each bad field. */
  readonly fields: Record<string, string[]> | undefined;

  constructor(error: ChatError) {
    super(error.detail);
    this.code = error.code;
    // Waiting is all that a limit asks for: it must never cost a message.
    this.retryable = error.retryable || error.code === RATE_LIMITED;
    this.retryAfter = error.retry_after;
    this.fields = error.fields;
  }

  /** The plain object, which can be stored. */
  toJSON(): ChatError {
    return {
      code: this.code,
      detail: this.message,
      retryable: this.retryable,
      ...(this.retryAfter === undefined ? {} : { retry_after: this.retryAfter }),
      ...(this.fields === undefined ? {} : { fields: this.fields }),
    };
  }
}

const LOCAL: Record<string, string> = {
  offline: "There is no connection to the server.",
  timeout: "The server did not answer in time.",
  disconnected: "The connection was lost before the server answered.",
  closed: "The client was closed.",
};

/** A failure that the client itself notices; the request may succeed later. */
export function localError(code: "offline" | "timeout" | "disconnected" | "closed"): ChatRequestError {
  return new ChatRequestError({ code, detail: LOCAL[code] ?? code, retryable: code !== "closed" });
}

/** Any thrown thing as a `ChatRequestError`. */
export function asChatError(thrown: unknown): ChatRequestError {
  if (thrown instanceof ChatRequestError) return thrown;
  const detail = thrown instanceof Error ? thrown.message : String(thrown);
  return new ChatRequestError({ code: "unavailable", detail, retryable: true });
}

const AUTH_CODES = new Set(["unauthorized", "token_expired"]);
const PERMANENT_CODES = new Set([
  "forbidden", "blocked", "not_found", "own_listing", "idempotency_conflict",
  "payload_too_large", "unsupported_media", "invalid_payload", "content_rejected", "unknown_event",
]);

/** True if a fresh token may help. */
export function isAuthError(error: { code: string }): boolean {
  return AUTH_CODES.has(error.code);
}

/** True if the same request will fail again however often it is repeated. */
export function isPermanent(error: { code: string }): boolean {
  return PERMANENT_CODES.has(error.code);
}
