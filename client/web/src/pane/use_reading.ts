/** What the reader has seen: marks it as read, and knows where the unread ones begin. */

import type { Chat } from "chatserver-client/react";
import { useEffect, useState } from "react";

export interface Reading {
  /** The mark "new messages" stands after this `seq`; null: no mark. */
  readUpTo: number | null;
  /** The newest message of the other when the conversation was opened. */
  openedAt: number;
}

interface Seen {
  openedAt: number;
  /** The newest message of the other that this hook knows of. */
  latest: number;
  readUpTo: number | null;
}

/**
 * Marks everything read while the newest message is visible and the window has the
 * focus (`isLooking`). The mark appears with what came while the reader looked
 * elsewhere, and goes when they write.
 */
export function useReading(chat: Chat, isLooking: boolean): Reading {
  const { conversation, messages, markRead } = chat;
  const latest = latestReceived(chat);
  const last = messages[messages.length - 1];
  const isAnswering = last?.isOwn === true && last.seq === null;
  const [seen, setSeen] = useState<Seen | null>(null);

  let next = seen;
  if (seen === null && conversation) {
    const opened = Math.max(latest, conversation.last_seq);
    const readUpTo = conversation.unread_count > 0 ? conversation.read_seq : null;
    next = { openedAt: opened, latest: opened, readUpTo };
  } else if (seen && latest > seen.latest) {
    next = { ...seen, latest, readUpTo: seen.readUpTo ?? (isLooking ? null : seen.latest) };
  } else if (seen && isAnswering && seen.readUpTo !== null) {
    next = { ...seen, readUpTo: null };
  }
  if (next !== seen) setSeen(next);

  const unread = conversation?.unread_count ?? 0;
  useEffect(() => { if (isLooking && unread > 0) markRead(); }, [isLooking, unread, latest, markRead]);
  return { readUpTo: next?.readUpTo ?? null, openedAt: next?.openedAt ?? Infinity };
}

function latestReceived({ messages }: Chat): number {
  for (let index = messages.length - 1; index >= 0; index -= 1) {
    const message = messages[index];
    if (message && !message.isOwn && message.seq !== null) return message.seq;
  }
  return 0;
}
