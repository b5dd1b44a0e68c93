/** Finds the first unread message of a conversation, however far back it lies. */

import type { History } from "./history.js";
import type { ConversationLog } from "./log.js";

/**
 * Sought from `seek` on until the first unread message is held together with what
 * stands before it, or nothing is unread; and again when the messages were dropped.
 */
export class UnreadPlace {
  readonly #log: ConversationLog;
  readonly #history: History;
  readonly #readSeq: () => number;
  #isWanted = false;
  /** The log's `drops` when it was found. */
  #foundAt: number | undefined;

  /** `readSeq` is what was read here, though the server may not know yet. */
  constructor(log: ConversationLog, history: History, readSeq: () => number) {
    this.#log = log;
    this.#history = history;
    this.#readSeq = readSeq;
  }

  /** Nothing should be shown until it is found. */
  get isSought(): boolean {
    return this.#isWanted && this.#foundAt !== this.#log.drops;
  }

  /** The first unread message is wanted. */
  seek(): void {
    this.#isWanted = true;
    this.#foundAt = undefined;
    this.#log.leavePast();
  }

  /** The newest messages are wanted, until the next `seek`. */
  leave(): void {
    this.#foundAt = this.#log.drops;
    this.#log.leavePast();
  }

  /** Nobody looks any more. */
  forget(): void {
    this.#isWanted = false;
    this.#log.leavePast();
  }

  /** Notices that it was found; whether it was just now. */
  update(): boolean {
    if (!this.isSought || !this.#log.info || !this.#isHeld()) return false;
    this.#foundAt = this.#log.drops;
    return true;
  }

  /** Fetches what is missing; call it while it `isSought` and the newest messages are held. */
  fetch(): Promise<void> {
    const { past } = this.#log;
    return past.first === undefined ? this.#history.around(this.#read) : this.#history.newer();
  }

  get #read(): number {
    return Math.max(this.#readSeq(), this.#log.info?.read_seq ?? 0);
  }

  #isHeld(): boolean {
    const { timeline, past } = this.#log;
    const read = this.#read;
    if (this.#log.unreadCount(read) === 0) return true;
    if (timeline.first !== undefined && timeline.first <= read + 1) return true;
    return past.messages.some((message) => message.seq > read && this.#log.countsAsUnread(message));
  }
}
