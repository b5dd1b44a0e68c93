/** Typing: telling the others without flooding them, and not believing them for ever. */

import type { Link } from "./transport.js";

const REPEAT = 2_000;
const IDLE = 3_000;
const EXPIRY = 6_000;

/** This user's own typing in one conversation: repeated while it goes on, ended after 3 s of silence. */
export class OwnTyping {
  #sentAt = -Infinity;
  #idle: ReturnType<typeof setTimeout> | undefined;
  readonly #link: Link;
  readonly #conversationId: string;

  constructor(link: Link, conversationId: string) {
    this.#link = link;
    this.#conversationId = conversationId;
  }

  /** Call it on every key; `false` when the text was sent or emptied. */
  set(isTyping: boolean): void {
    clearTimeout(this.#idle);
    if (isTyping) {
      this.#idle = setTimeout(() => { this.set(false); }, IDLE);
      if (Date.now() - this.#sentAt < REPEAT) return;
      this.#sentAt = Date.now();
    } else {
      if (this.#sentAt === -Infinity) return;
      this.#sentAt = -Infinity;
    }
    this.#link.send("typing", { conversation_id: this.#conversationId, is_typing: isTyping });
  }
}

/** The others' typing: it ends when they say so, send, or are not heard of for 6 s. */
export class OthersTyping {
  readonly #timers = new Map<string, ReturnType<typeof setTimeout>>();
  readonly #onChange: () => void;
  #userIds: readonly string[] = [];

  constructor(onChange: () => void) {
    this.#onChange = onChange;
  }

  /** Users who type now; the same array until somebody starts or stops. */
  get userIds(): readonly string[] {
    return this.#userIds;
  }

  set(userId: string, isTyping: boolean): void {
    clearTimeout(this.#timers.get(userId));
    const wasTyping = this.#timers.delete(userId);
    if (isTyping) this.#timers.set(userId, setTimeout(() => { this.set(userId, false); }, EXPIRY));
    if (isTyping !== wasTyping) this.#changed();
  }

  clear(): void {
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
    if (this.#userIds.length > 0) this.#changed();
  }

  #changed(): void {
    this.#userIds = [...this.#timers.keys()];
    this.#onChange();
  }
}
