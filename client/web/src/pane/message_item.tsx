/** One message: its text, time and ticks, and what can be done with it. */

import type { ChatMessage } from "chatserver-client";
import { memo, type KeyboardEvent, type ReactElement } from "react";

import type { Dictionary } from "../i18n/es";
import type { Author, People } from "../people";
import { errorText, usePreferences } from "../preferences";
import { Icon } from "../ui/icon";
import { Menu, type MenuItem } from "../ui/menu";
import { Ticks } from "../ui/ticks";
import { isolated, plainName, shownText } from "../ui/plain";
import { MessageText } from "./message_text";

/** The same object for the whole conversation, so that messages render only when they change. */
export interface MessageActions {
  reply: (message: ChatMessage) => void;
  edit: (message: ChatMessage) => void;
  remove: (message: ChatMessage) => void;
  copy: (message: ChatMessage) => void;
  retry: (key: string) => void;
  discard: (key: string) => void;
  show: (message: ChatMessage) => void;
}

export interface MessageItemProps {
  message: ChatMessage;
  people: People;
  startsRun: boolean;
  endsRun: boolean;
  isTabStop: boolean;
  isHighlighted: boolean;
  /** Its edges are marked, so that it can be told when it was on the screen. */
  isUnseen: boolean;
  /** Seconds for which a sender may change a text. */
  editWindow: number;
  /** Message that it answers; null when that is not loaded, undefined when it answers nothing. */
  quoted: ChatMessage | null | undefined;
  actions: MessageActions;
}

/** True if its sender may still change the text; the server has the last word. */
export function isEditable(message: ChatMessage, editWindow: number): boolean {
  return message.isOwn && message.id !== null && !message.is_deleted && message.message_type === "text"
    && Date.now() - Date.parse(message.created_at) < editWindow * 1000;
}

export const MessageItem = memo(function MessageItem(props: MessageItemProps): ReactElement {
  const { message, people, startsRun, endsRun, isTabStop, isHighlighted, isUnseen, editWindow, actions } = props;
  const { t, format } = usePreferences();
  const author = people.author(message);
  if (message.message_type === "system") {
    return (
      <li
        className="system" data-key={message.key} data-testid="system-message" data-unseen={isUnseen || undefined}
        tabIndex={isTabStop ? 0 : -1}
      >
        {isUnseen && <Edges seq={message.seq} />}
        <Byline author={author} isOwn={message.isOwn} />
        {message.is_deleted ? <em className="message-deleted">{t.deleted}</em> : <MessageText text={message.content} />}
      </li>
    );
  }
  const hasMenu = message.id !== null && !message.is_deleted;
  return (
    <li
      className="message" data-key={message.key} data-testid="message" data-own={message.isOwn || undefined}
      data-state={message.state} data-starts={startsRun || undefined} data-ends={endsRun || undefined}
      data-third={(!message.isOwn && author.isThird) || undefined} data-unseen={isUnseen || undefined}
      data-highlighted={isHighlighted || undefined} tabIndex={isTabStop ? 0 : -1} onKeyDown={openMenuByKey}
    >
      {isUnseen && <Edges seq={message.seq} />}
      <div className="bubble">
        {startsRun && !message.isOwn && (author.isThird || !people.isParticipant)
          ? <Byline author={author} isOwn={false} />
          : <span className="sr-only">{message.isOwn ? t.you : <bdi>{author.name}</bdi>}: </span>}
        {!message.is_deleted && <Quote {...props} />}
        <Body message={message} />
        <span className="meta">
          {message.edited_at !== null && !message.is_deleted && <span>{t.edited}</span>}
          <time dateTime={message.created_at} title={format.full(message.created_at)}>{format.time(message.created_at)}</time>
          {message.isOwn && !message.is_deleted && <Ticks state={message.state} />}
        </span>
      </div>
      {hasMenu && (
        <Menu
          label={t.messageActions} className="message-menu" tabIndex={isTabStop ? 0 : -1}
          groups={() => [{ items: menuItems(message, editWindow, actions, t) }]}
        />
      )}
      {message.state === "failed" && <Failure message={message} actions={actions} />}
    </li>
  );
});

/** Author of the message, where that is not clear from the conversation. */
function Byline({ author, isOwn }: { author: Author; isOwn: boolean }): ReactElement {
  const { t } = usePreferences();
  return (
    <span className="byline" data-testid="byline">
      <bdi className="byline-name">{isOwn ? t.you : author.name}</bdi>
      {author.role !== null && <span className="byline-role">{author.role}</span>}
    </span>
  );
}

/** Elements that `useSeen` watches. */
function Edges({ seq }: { seq: number | null }): ReactElement {
  return (
    <>
      <span className="edge" data-edge="start" data-seq={seq} aria-hidden="true" />
      <span className="edge" data-edge="end" data-seq={seq} aria-hidden="true" />
    </>
  );
}

function Body({ message }: { message: ChatMessage }): ReactElement {
  const { t } = usePreferences();
  if (message.is_deleted) return <em className="message-deleted">{t.deleted}</em>;
  const url = message.attachment?.url ?? message.media_url;
  return (
    <>
      {url !== null && (
        <a className="media" href={url} target="_blank" rel="noopener noreferrer" tabIndex={-1}>
          <Icon name={message.message_type === "image" ? "photo" : "document"} />
          <bdi>{message.attachment ? plainName(message.attachment.file_name) : t.openMedia}</bdi>
        </a>
      )}
      {message.content !== "" && <MessageText text={message.content} />}
    </>
  );
}

function Quote({ quoted, people, actions }: MessageItemProps): ReactElement | null {
  const { t } = usePreferences();
  if (quoted === undefined) return null;
  if (quoted === null) return <span className="quote">{t.earlierMessage}</span>;
  const name = quoted.isOwn ? t.you : people.author(quoted).name;
  return (
    <button type="button" className="quote" tabIndex={-1} aria-label={t.replyTo(isolated(name))} onClick={() => { actions.show(quoted); }}>
      <strong><bdi>{name}</bdi></strong>
      <bdi className="quote-text" dir="auto">{summary(quoted, t)}</bdi>
    </button>
  );
}

function Failure({ message, actions }: { message: ChatMessage; actions: MessageActions }): ReactElement {
  const { t } = usePreferences();
  const { error, key } = message;
  return (
    <div className="failure" role="alert">
      <span><Icon name="alert" />{t.failed}. {error && errorText(t, error)}</span>
      <button type="button" className="link" onClick={() => { actions.retry(key); }}>{t.retry}</button>
      <button type="button" className="link" onClick={() => { actions.discard(key); }}>{t.discard}</button>
    </div>
  );
}

/** One line that stands for a message. */
export function summary(message: ChatMessage, t: Dictionary): string {
  if (message.is_deleted) return t.deleted;
  return shownText(message.content) || (message.message_type === "image" ? t.photo : t.document);
}

function menuItems(message: ChatMessage, editWindow: number, actions: MessageActions, t: Dictionary): MenuItem[] {
  const items: MenuItem[] = [{ label: t.reply, icon: "reply", onSelect: () => { actions.reply(message); } }];
  if (message.content !== "") items.push({ label: t.copy, icon: "copy", onSelect: () => { actions.copy(message); } });
  if (isEditable(message, editWindow)) items.push({ label: t.edit, icon: "edit", onSelect: () => { actions.edit(message); } });
  if (message.isOwn) {
    items.push({ label: t.remove, icon: "trash", isDanger: true, onSelect: () => { actions.remove(message); } });
  }
  return items;
}

/** On a message itself, Enter and the keyboard's menu key open its menu. */
function openMenuByKey(event: KeyboardEvent<HTMLElement>): void {
  const isMenuKey = event.key === "ContextMenu" || (event.key === "F10" && event.shiftKey);
  if (event.target !== event.currentTarget || !(event.key === "Enter" || isMenuKey)) return;
  event.preventDefault();
  event.currentTarget.querySelector<HTMLElement>("[data-menu-button]")?.click();
}
