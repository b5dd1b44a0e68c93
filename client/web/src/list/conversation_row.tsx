/** One conversation in the list: who, about what, the last message, and what is unread. */

import type { ConversationItem } from "chatserver-client";
import { memo, type ReactElement } from "react";

import { peopleOf, type People } from "../people";
import { usePreferences } from "../preferences";
import { Avatar, AvatarPair } from "../ui/avatar";
import { Icon } from "../ui/icon";
import { plainName, shownText } from "../ui/plain";
import { Ticks } from "../ui/ticks";

export interface ConversationRowProps {
  item: ConversationItem;
  /** Whose page this is. */
  ownId: string | null;
  isOpen: boolean;
  isTabStop: boolean;
  /** Nobody is shown as online while this page is not. */
  knowsPresence: boolean;
  onOpen: (id: string) => void;
}

export const ConversationRow = memo(function ConversationRow(
  { item, ownId, isOpen, isTabStop, knowsPresence, onOpen }: ConversationRowProps,
): ReactElement {
  const { t, format } = usePreferences();
  const people = peopleOf(item, t, format.list);
  const isOnline = knowsPresence && item.isParticipant && (item.peer_presence?.is_online ?? false);
  const when = item.last_message_at ?? item.created_at;
  return (
    <li>
      <button
        type="button" className="row" data-key={item.id} data-testid="conversation-row" tabIndex={isTabStop ? 0 : -1}
        aria-current={isOpen || undefined} onClick={() => { onOpen(item.id); }}
      >
        {item.isParticipant ? <Avatar user={item.peer} name={people.title} isOnline={isOnline} /> : <AvatarPair users={people.shown} />}
        <span className="row-main">
          <span className="row-line">
            <bdi className="row-name">{people.title}</bdi>
            {isOnline && <span className="sr-only">({t.online})</span>}
            <time className="row-time" dateTime={when} title={format.full(when)}>{format.short(when)}</time>
          </span>
          <span className="row-line row-listing">
            <bdi className="ellipsis">{item.listing.title === null ? t.unknownListing : plainName(item.listing.title)}</bdi>
            {item.listing.price !== null && (
              <span className="row-price">{format.price(item.listing.price, item.listing.currency)}</span>
            )}
          </span>
          <span className="row-line">
            <Preview item={item} people={people} ownId={ownId} />
            {item.waitingCount > 0 && (
              <span className="row-waiting" title={t.notSentYet(item.waitingCount)}>
                <Icon name="clock" /><span className="sr-only">{t.notSentYet(item.waitingCount)}</span>
              </span>
            )}
            {item.unread_count > 0 && (
              <span className="badge" data-testid="unread-badge">
                <span aria-hidden="true">{item.unread_count > 99 ? "99+" : item.unread_count}</span>
                <span className="sr-only">{t.unreadMessages(item.unread_count)}</span>
              </span>
            )}
          </span>
        </span>
      </button>
    </li>
  );
});

function Preview({ item, people, ownId }: { item: ConversationItem; people: People; ownId: string | null }): ReactElement {
  const { t } = usePreferences();
  const { last_message: message } = item;
  if (item.isPeerTyping) return <span className="row-preview" data-typing="">{t.typing}</span>;
  if (!message) return <span className="row-preview" data-faint="">{t.noMessagesYet}</span>;
  const isOwn = message.sender_id === ownId;
  const author = people.author(message);
  const isNamed = !isOwn && (author.isThird || !people.isParticipant);
  const isNew = item.unread_count > 0 && !isOwn;
  return (
    <span className="row-preview" data-testid="preview" data-faint={message.is_deleted || undefined} data-unread={isNew || undefined}>
      {isOwn && !message.is_deleted && message.message_type !== "system" && <Ticks state={message.status} />}
      {isOwn && <span className={message.message_type === "system" ? undefined : "sr-only"}>{t.youPrefix}</span>}
      {isNamed && <bdi className="row-author">{author.name}:</bdi>}
      {message.message_type === "image" && <Icon name="photo" />}
      {message.message_type === "document" && <Icon name="document" />}
      <bdi className="ellipsis" dir="auto">{message.is_deleted ? t.deleted : shownText(message.content) || placeholder(message.message_type, t)}</bdi>
    </span>
  );
}

function placeholder(type: string, t: { photo: string; document: string }): string {
  return type === "image" ? t.photo : t.document;
}
