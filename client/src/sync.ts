/** Asks the server what has changed, page by page, and remembers how far it got. */

import { Backoff } from "./backoff.js";
import type { Conversations } from "./conversations.js";
import { asChatError } from "./errors.js";
import type { Logger } from "./logger.js";
import { Pause } from "./pause.js";
import type { SyncAnswer, SyncRequest } from "./protocol.js";
import type { Link } from "./transport.js";

export interface SyncOptions {
  link: Link;
  conversations: Conversations;
  logger: Logger;
  /** A round is done: everything up to `cursor` is in the conversations. */
  onDone: (cursor: string) => void;
  /** The cursor was not from this database: everything must go, then it starts anew. */
  onReset: () => void;
  /** The server did not answer: the connection may be dead without knowing. */
  onTimeout: () => void;
}

const PAGE = 100;
const TIMEOUT = 15_000;

/**
 * One round at a time; asking during one makes another follow. Live events go on
 * meanwhile: an answer is a snapshot with a `rev`, so nothing is applied twice.
 */
export class Sync {
  readonly #options: SyncOptions;
  readonly #backoff = new Backoff({ base: 1_000, cap: 30_000 });
  readonly #pause = new Pause();
  #cursor: string | undefined;
  #isWanted = false;
  #isRunning = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(options: SyncOptions) {
    this.#options = options;
  }

  get cursor(): string | undefined {
    return this.#cursor;
  }

  /** Goes on from an earlier visit. */
  resume(cursor: string): void {
    this.#cursor = cursor;
  }

  /** The next round starts from nothing. */
  forget(): void {
    this.#cursor = undefined;
  }

  /** Something may have been missed. `timeoutMs` is for a connection that is probably dead. */
  request(timeoutMs = TIMEOUT): void {
    this.#isWanted = true;
    if (this.#isRunning) return;
    clearTimeout(this.#timer);
    if (this.#pause.left === 0) void this.#run(timeoutMs);
    else this.#timer = setTimeout(() => { this.request(); }, this.#pause.left);
  }

  /** The connection is gone: the next one asks again anyway. */
  offline(): void {
    clearTimeout(this.#timer);
    this.#isWanted = false;
  }

  async #run(timeoutMs: number): Promise<void> {
    this.#isRunning = true;
    try {
      await this.#rounds(timeoutMs);
    } finally {
      this.#isRunning = false;
    }
  }

  async #rounds(timeoutMs: number): Promise<void> {
    while (this.#isWanted && this.#options.link.isOnline && this.#pause.left === 0) {
      this.#isWanted = false;
      try {
        await this.#pages(timeoutMs);
        this.#backoff.reset();
      } catch (error) {
        const { code } = asChatError(error);
        if (code === "disconnected" || code === "offline") continue; // there may be a new connection
        this.#failed(error);
        return;
      }
    }
  }

  async #pages(timeoutMs: number): Promise<void> {
    const { link, conversations } = this.#options;
    const answered = new Set<string>();
    for (;;) {
      const since = conversations.now;
      const answer = await link.request("sync", this.#question(answered), timeoutMs);
      if (answer.reset && this.#cursor !== undefined) {
        this.#startAnew();
        return;
      }
      this.#apply(answer, since, answered);
      if (!answer.has_more) break;
    }
    conversations.complete();
    if (this.#cursor !== undefined) this.#options.onDone(this.#cursor);
  }

  /** Each page asks for the open conversations that no page has brought yet. */
  #question(answered: ReadonlySet<string>): SyncRequest {
    const open = Object.entries(this.#options.conversations.positions()).filter(([id]) => !answered.has(id));
    return {
      limit: PAGE,
      ...(this.#cursor === undefined ? {} : { cursor: this.#cursor }),
      ...(open.length === 0 ? {} : { open: Object.fromEntries(open) }),
    };
  }

  #apply(answer: SyncAnswer, since: number, answered: Set<string>): void {
    for (const conversation of answer.conversations) {
      if (conversation.changes) answered.add(conversation.id);
      this.#options.conversations.summarize(conversation, since);
    }
    this.#cursor = answer.cursor;
  }

  #startAnew(): void {
    this.#options.logger.warn("The server has another database than before: starting anew");
    this.#cursor = undefined;
    this.#isWanted = true;
    this.#options.onReset();
  }

  #failed(thrown: unknown): void {
    const { link, logger, onTimeout } = this.#options;
    const error = asChatError(thrown);
    logger.debug("The sync failed", error.toJSON());
    if (error.code === "timeout") {
      onTimeout();
      return;
    }
    // A cursor that the server cannot even read is worth nothing.
    if (error.code === "invalid_payload" && this.#cursor !== undefined) this.#startAnew();
    this.#pause.note(error);
    if (!link.isOnline) return;
    const wait = this.#backoff.next(this.#pause.left);
    this.#timer = setTimeout(() => { this.request(); }, wait);
  }
}
