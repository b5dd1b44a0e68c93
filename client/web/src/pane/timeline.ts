/** Layout of a conversation's messages: days, runs of one sender, the unread mark. */

import type { ChatMessage } from "chatserver-client";

import { dayOf } from "../i18n/formats";

export interface TimelineItem {
  message: ChatMessage;
  /** First and last of a run: messages of one sender in quick succession. */
  startsRun: boolean;
  endsRun: boolean;
  /** The unread ones begin here. */
  isFirstUnread: boolean;
}

export interface TimelineDay {
  /** The same text for the same day. */
  key: string;
  /** A moment of that day. */
  when: string;
  items: TimelineItem[];
}

const RUN_GAP = 5 * 60_000;

/**
 * `readUpTo`: what comes from the other after this `seq` is unread; null shows no mark.
 * Nor is there one while the first unread message may be among the `hasOlder` ones.
 */
export function layOut(messages: readonly ChatMessage[], readUpTo: number | null, hasOlder: boolean): TimelineDay[] {
  const days: TimelineDay[] = [];
  const first = readUpTo === null ? -1 : messages.findIndex((message) => isUnread(message, readUpTo));
  const isCertain = first > 0 || !hasOlder || messages[0]?.seq === (readUpTo ?? 0) + 1;
  const firstUnread = isCertain ? messages[first] : undefined;
  messages.forEach((message, index) => {
    const key = dayOf(message.created_at);
    let day = days[days.length - 1];
    if (day?.key !== key) days.push((day = { key, when: message.created_at, items: [] }));
    day.items.push({
      message,
      startsRun: !isSameRun(messages[index - 1], message) || message === firstUnread,
      endsRun: !isSameRun(message, messages[index + 1]) || messages[index + 1] === firstUnread,
      isFirstUnread: message === firstUnread,
    });
  });
  return days;
}

/** Number of the other's messages that are after `readUpTo`. */
export function countUnread(messages: readonly ChatMessage[], readUpTo: number): number {
  return messages.filter((message) => isUnread(message, readUpTo)).length;
}

function isUnread(message: ChatMessage, readUpTo: number): boolean {
  return !message.isOwn && !message.is_deleted && message.seq !== null && message.seq > readUpTo;
}

function isSameRun(first: ChatMessage | undefined, second: ChatMessage | undefined): boolean {
  if (!first || first.sender_id !== second?.sender_id) return false;
  if (first.message_type === "system" || second.message_type === "system") return false;
  const gap = Date.parse(second.created_at) - Date.parse(first.created_at);
  return gap < RUN_GAP && dayOf(first.created_at) === dayOf(second.created_at);
}
