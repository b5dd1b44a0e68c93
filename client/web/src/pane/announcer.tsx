/** Announcements to screen readers as a conversation goes on. */

import type { Chat } from "chatserver-client/react";
import { useState, type ReactElement } from "react";

import type { People } from "../people";
import { usePreferences } from "../preferences";
import { shownText } from "../ui/plain";
import type { Reading } from "./use_reading";

export interface AnnouncerProps {
  chat: Chat;
  people: People;
  reading: Reading;
  /** Number of messages after the unread mark. */
  newCount: number;
}

const ANNOUNCED = 3;

/**
 * Messages that come while the conversation is open, the last three of them; where
 * those that are shown end before them, only how many there are.
 */
export function Announcer({ chat, people, reading, newCount }: AnnouncerProps): ReactElement {
  const { t } = usePreferences();
  const { messages, conversation, hasNewer } = chat;
  const { readUpTo, openedAt } = reading;
  const lastSeq = conversation?.last_seq ?? 0;
  const unread = conversation?.unread_count ?? 0;
  // Told when the counter grows, soon after the message came, and not with each that is read.
  const [counter, setCounter] = useState({ unread, grewTo: 0, at: 0 });
  if (counter.unread < unread) setCounter({ unread, grewTo: unread, at: lastSeq });
  else if (counter.unread > unread) setCounter({ ...counter, unread });
  return (
    <div className="sr-only" aria-live="polite" data-testid="announcer">
      {readUpTo !== null && <p>{t.newMessages(newCount)}</p>}
      {hasNewer
        ? counter.at > openedAt && <p key={counter.at}>{t.newMessagesBelow(counter.grewTo)}</p>
        : messages.filter((message) => !message.isOwn && (message.seq ?? 0) > openedAt).slice(-ANNOUNCED).map((message) => (
          <p key={message.key}><bdi>{people.author(message).name}</bdi>: {message.is_deleted ? t.deleted : shownText(message.content)}</p>
        ))}
    </div>
  );
}
