/** Rooms of conversations that this socket is in: typing and presence come only there. */

import { asChatError, isPermanent } from "./errors.js";
import type { Tick } from "./log.js";
import type { Logger } from "./logger.js";
import { Pause } from "./pause.js";
import type { ChatError, Conversation } from "./protocol.js";
import type { Link } from "./transport.js";

export interface RoomsOptions {
  link: Link;
  logger: Logger;
  /** The moment of a request, for `onJoined`. */
  now: () => Tick;
  /** `since` is when the answer was asked for. */
  onJoined: (conversation: Conversation, since: Tick) => void;
  onRefused: (conversationId: string, error: ChatError) => void;
}

const AT_ONCE = 8;
const RETRY = 3;

/** Keeps the socket in every room that somebody wants, over all reconnects. */
export class Rooms {
  readonly #options: RoomsOptions;
  readonly #wanted = new Map<string, number>();
  readonly #joined = new Set<string>();
  readonly #pause = new Pause();
  #session = 0;

  constructor(options: RoomsOptions) {
    this.#options = options;
  }

  /** Joins until the answered function is called; the last one to call it leaves. */
  enter(conversationId: string): () => void {
    this.#wanted.set(conversationId, (this.#wanted.get(conversationId) ?? 0) + 1);
    if (this.#wanted.get(conversationId) === 1) void this.#join(conversationId);
    let isInside = true;
    return () => {
      if (isInside) this.#exit(conversationId);
      isInside = false;
    };
  }

  /** A new socket is in no room. */
  online(): void {
    this.#session += 1;
    this.#joined.clear();
    const waiting = [...this.#wanted.keys()];
    const next = async (): Promise<void> => {
      for (let id = waiting.shift(); id !== undefined; id = waiting.shift()) await this.#join(id);
    };
    for (let worker = 0; worker < AT_ONCE; worker += 1) void next();
  }

  #exit(conversationId: string): void {
    const count = (this.#wanted.get(conversationId) ?? 0) - 1;
    if (count > 0) {
      this.#wanted.set(conversationId, count);
      return;
    }
    this.#wanted.delete(conversationId);
    if (this.#joined.delete(conversationId)) this.#options.link.send("leave", { conversation_id: conversationId });
  }

  async #join(conversationId: string): Promise<void> {
    const session = this.#session;
    if (!this.#options.link.isOnline || !this.#wanted.has(conversationId)) return;
    if (this.#pause.left > 0) {
      this.#joinLater(conversationId, session, this.#pause.left);
      return;
    }
    const since = this.#options.now();
    try {
      const { conversation } = await this.#options.link.request("join", { conversation_id: conversationId });
      if (session !== this.#session) return;
      if (this.#wanted.has(conversationId)) this.#joined.add(conversationId);
      else this.#options.link.send("leave", { conversation_id: conversationId });
      this.#options.onJoined(conversation, since);
    } catch (thrown) {
      const error = asChatError(thrown);
      this.#options.logger.debug("A room could not be joined", error.toJSON());
      if (session !== this.#session) return;
      this.#pause.note(error);
      if (isPermanent(error)) this.#options.onRefused(conversationId, error.toJSON());
      else this.#joinLater(conversationId, session, (error.retryAfter ?? RETRY) * 1000);
    }
  }

  #joinLater(conversationId: string, session: number, wait: number): void {
    setTimeout(() => {
      if (session === this.#session && !this.#joined.has(conversationId)) void this.#join(conversationId);
    }, wait);
  }
}
