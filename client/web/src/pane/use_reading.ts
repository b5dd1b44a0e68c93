/** Progress of the reader: marks what was seen as read, and knows where the unread begin. */

import type { ChatMessage } from "chatserver-client";
import type { Chat } from "chatserver-client/react";
import { useCallback, useState } from "react";

export interface Reading {
  /** The mark "new messages" stands after this `seq`; null: no mark. */
  readUpTo: number | null;
  /** Number of unread messages when the mark was set. */
  markedCount: number;
  /** The newest message when the conversation was opened. */
  openedAt: number;
  /** Sets the mark anew, before the first unread message. */
  mark: () => void;
}

interface Mark {
  openedAt: number;
  readUpTo: number | null;
  markedCount: number;
  /** All after it was read: what comes next gets a mark of its own. */
  isDone: boolean;
}

const NONE: Mark = { openedAt: Infinity, readUpTo: null, markedCount: 0, isDone: true };

/**
 * The mark appears with what is unread when the conversation opens, and with what comes
 * while the reader does not look at the newest message (`isLooking`); it goes when they write.
 */
export function useReading(chat: Chat, isLooking: boolean): Reading {
  const { conversation, messages, isLoading } = chat;
  const last = messages[messages.length - 1];
  const isAnswering = last?.isOwn === true && last.seq === null;
  const [mark, setMark] = useState<Mark | null>(null);
  const unread = conversation?.unread_count ?? 0;
  const readSeq = conversation?.read_seq ?? 0;

  let next = mark;
  if (mark === null) {
    // Once messages are there, what still loads is something else: receipts, or the next page.
    const isThere = !isLoading || messages.some(({ seq }) => seq !== null);
    if (conversation && isThere) next = marked(conversation.last_seq, unread, readSeq);
  } else if (unread === 0 && !mark.isDone) {
    next = { ...mark, isDone: true };
  } else if (unread > 0 && mark.isDone && !isLooking) {
    next = marked(mark.openedAt, unread, readSeq);
  } else if (isAnswering && mark.readUpTo !== null) {
    next = { ...mark, readUpTo: null };
  }
  if (next !== mark) setMark(next);
  const setAnew = useCallback(() => {
    setMark((current) => marked(current?.openedAt ?? Infinity, unread, readSeq));
  }, [unread, readSeq]);
  const { readUpTo, markedCount, openedAt } = next ?? NONE;
  return { readUpTo, markedCount, openedAt, mark: setAnew };
}

function marked(openedAt: number, unread: number, readSeq: number): Mark {
  return { openedAt, readUpTo: unread > 0 ? readSeq : null, markedCount: unread, isDone: unread === 0 };
}

/**
 * The last message of another up to which everything was seen, without a gap after
 * `readSeq`; undefined when that is none. What lies between two that were seen, and was
 * not on the screen itself, ends it.
 */
export function seenUpTo(
  messages: readonly ChatMessage[], readSeq: number, isSeen: (seq: number) => boolean,
): number | undefined {
  let upTo: number | undefined;
  let wanted = readSeq + 1;
  for (const { seq, isOwn, is_deleted } of messages) {
    if (seq === null || seq < wanted) continue;
    if (seq > wanted) return upTo;
    if (!isOwn && !is_deleted) {
      if (!isSeen(seq)) return upTo;
      upTo = seq;
    }
    wanted += 1;
  }
  return upTo;
}
