/** Count of messages that a user has not read, from what this device holds and what the server said. */

import type { HeldMessages } from "./held.js";
import type { Conversation, Message } from "./protocol.js";

/** True if a message makes the user's counter grow. */
export function countsAsUnread(message: Message, userId: string): boolean {
  return message.sender_id !== userId && !message.is_deleted;
}

/**
 * Messages of others after `read`: counted where all of them are held, else the server's
 * word, less those that were read since it gave it, as far as they are held.
 */
export function countUnread(info: Conversation, { timeline, past }: HeldMessages, read: number, userId: string): number {
  const count = (messages: readonly Message[], from: number, to: number): number =>
    messages.filter((message) => message.seq > from && message.seq <= to && countsAsUnread(message, userId)).length;
  if (timeline.first !== undefined && timeline.first <= read + 1) return count(timeline.messages, read, Infinity);
  const isTracked = past.holds(info.read_seq + 1) && past.holds(read);
  const done = isTracked ? count(past.messages, info.read_seq, read) : 0;
  return Math.max(0, Math.min(info.unread_count - done, info.last_seq - read));
}
