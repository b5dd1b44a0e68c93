/** Keeps the list of conversations with its cursor, so that the next visit starts where this one ended. */

import { asChatError } from "./errors.js";
import type { Logger } from "./logger.js";
import type { Conversation } from "./protocol.js";
import type { OutboxStorage } from "./storage/types.js";
import { within } from "./timing.js";

/** State that one visit leaves for the next. */
export interface Visit {
  cursor: string;
  conversations: Conversation[];
}

const DELAY = 2_000;
const LOAD_TIMEOUT = 5_000;
/** Beyond this a full sync costs less than writing the list again and again. */
const MAX_CONVERSATIONS = 2_000;

/**
 * The list holds at least everything up to the cursor, and both are written as one
 * value: whichever tab writes last, the next visit finds a pair that fits.
 */
export class Visits {
  readonly #storage: OutboxStorage;
  #key = "";
  readonly #logger: Logger;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #hasWritten = false;

  constructor(storage: OutboxStorage, logger: Logger) {
    this.#storage = storage;
    this.#logger = logger;
  }

  /** Loads what the last visit of this server and user left, if anything can be read. */
  async load(scope: string): Promise<Visit | undefined> {
    this.#key = `${scope}:visit`;
    try {
      const value = await within(LOAD_TIMEOUT, this.#storage.get(this.#key));
      return value === null ? undefined : (JSON.parse(value) as Visit);
    } catch (error) {
      this.#logger.warn("The last visit could not be read", asChatError(error).toJSON());
      return undefined;
    }
  }

  /** Writes what `visit` answers: the first one at once, later ones gathered for a moment. */
  save(visit: () => Visit | undefined): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      void this.#write(visit());
    }, this.#hasWritten ? DELAY : 0);
  }

  async clear(): Promise<void> {
    this.close();
    if (this.#key !== "") await this.#storage.delete(this.#key);
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  async #write(visit: Visit | undefined): Promise<void> {
    if (!visit || this.#key === "" || visit.conversations.length > MAX_CONVERSATIONS) return;
    this.#hasWritten = true;
    try {
      await this.#storage.set(this.#key, JSON.stringify(visit));
    } catch (error) {
      this.#logger.warn("The visit could not be saved", asChatError(error).toJSON());
    }
  }
}
