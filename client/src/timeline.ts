/** A run of messages of one conversation that this device holds, without a gap. */

import type { Message, MessageStatus } from "./protocol.js";

const RANK: Record<MessageStatus, number> = { sent: 0, delivered: 1, read: 2 };

/** Messages up to `seq` have got this far with their recipients. */
export interface CursorMove {
  /** Whose messages: they have another recipient than those of the other side. */
  concerns: (senderId: string) => boolean;
  seq: number;
  status: "delivered" | "read";
  /** Time of the receipt; null where only the cursor is known, not the moment. */
  at: string | null;
}

/** An immutable run of messages by ascending, gapless `seq`; every change replaces `messages`. */
export class Timeline {
  #messages: readonly Message[] = [];

  get messages(): readonly Message[] {
    return this.#messages;
  }

  /** The lowest `seq` held; undefined when nothing is. */
  get first(): number | undefined {
    return this.#messages[0]?.seq;
  }

  /** The highest `seq` held; undefined when nothing is. */
  get last(): number | undefined {
    return this.#messages.at(-1)?.seq;
  }

  get(seq: number): Message | undefined {
    return this.#messages[seq - (this.first ?? 0)];
  }

  /** True if a message is within the run. */
  holds(seq: number): boolean {
    return this.get(seq) !== undefined;
  }

  clear(): void {
    this.#messages = [];
  }

  /** Takes the first message, one that directly follows, or a newer state of a held one. */
  put(message: Message): void {
    const { first, last } = this;
    if (first === undefined || last === undefined) {
      this.#messages = [message];
    } else if (message.seq === last + 1) {
      this.#messages = [...this.#messages, message];
    } else if (message.seq >= first && message.seq <= last) {
      const next = [...this.#messages];
      const index = message.seq - first;
      next[index] = mergeMessages(next[index] ?? message, message);
      this.#messages = next;
    }
  }

  /** Takes a page in any order; false, and nothing is changed, when it leaves a gap. */
  merge(page: readonly Message[]): boolean {
    const bySeq = new Map(this.#messages.map((message) => [message.seq, message]));
    for (const message of page) {
      const held = bySeq.get(message.seq);
      bySeq.set(message.seq, held ? mergeMessages(held, message) : message);
    }
    const merged = [...bySeq.values()].sort((a, b) => a.seq - b.seq);
    if (!merged.every((message, index) => message.seq === (merged[0]?.seq ?? 0) + index)) return false;
    this.#messages = merged;
    return true;
  }

  /** Applies a receipt to the messages that it speaks of. */
  move(move: CursorMove): void {
    this.#replace((message) => moveMessage(message, move));
  }

  #replace(change: (message: Message) => Message): void {
    const next = this.#messages.map(change);
    if (next.some((message, index) => message !== this.#messages[index])) this.#messages = next;
  }
}

/** The message after a receipt; the same object when the receipt says nothing new about it. */
export function moveMessage(message: Message, move: CursorMove): Message {
  if (message.seq > move.seq || !move.concerns(message.sender_id)) return message;
  if (RANK[message.status] >= RANK[move.status]) return message;
  // Reading implies delivery, at the same moment unless it was delivered before.
  const delivered_at = message.status === "sent" ? move.at : message.delivered_at;
  if (move.status === "delivered") return { ...message, status: "delivered", delivered_at };
  return { ...message, status: "read", delivered_at, read_at: move.at };
}

/**
 * State of a message after the server has told `told`: the content of the later
 * revision, and of the receipts (which leave the row's `rev` alone and only ever move
 * forward) whatever says more. A time that the server tells is right, and stays.
 */
export function mergeMessages(held: Message, told: Message): Message {
  return {
    ...(told.rev >= held.rev ? told : held),
    status: RANK[held.status] > RANK[told.status] ? held.status : told.status,
    delivered_at: told.delivered_at ?? held.delivered_at,
    read_at: told.read_at ?? held.read_at,
  };
}

/** True if a receipt is known by its cursor alone, and not when it came. */
export function isUndated({ status, delivered_at, read_at }: Message): boolean {
  return status === "sent" ? false : delivered_at === null || (status === "read" && read_at === null);
}
