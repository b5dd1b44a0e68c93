/** Pause that the server asks for: a rate limit, for one kind of request. */

import type { ChatRequestError } from "./errors.js";

/** Holds the latest `retry_after`; whoever asks earlier only makes it longer. */
export class Pause {
  #until = 0;

  /** Takes over what an error says, if it says how long to wait. */
  note(error: Pick<ChatRequestError, "retryAfter">): void {
    if (error.retryAfter !== undefined) this.#until = Math.max(this.#until, Date.now() + error.retryAfter * 1000);
  }

  /** Milliseconds that are left; 0 when nothing forbids a request. */
  get left(): number {
    return Math.max(0, this.#until - Date.now());
  }

  /** Time of its end (ms since 1970); null when it is over. */
  get until(): number | null {
    return this.left > 0 ? this.#until : null;
  }
}
