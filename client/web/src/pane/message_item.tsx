/** One message: its text, time and ticks, and what can be done with it. */

import type { ChatMessage } from "chatserver-client";
import { memo, type KeyboardEvent, type ReactElement } from "react";

import type { Dictionary } from "../i18n/es";
import { errorText, usePreferences } from "../preferences";
import { Icon } from "../ui/icon";
import { Menu, type MenuItem } from "../ui/menu";
import { Ticks } from "../ui/ticks";
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
  peerName: string;
  startsRun: boolean;
  endsRun: boolean;
  isTabStop: boolean;
  isHighlighted: boolean;
  /** What it answers; null when that is not loaded, undefined when it answers nothing. */
  quoted: ChatMessage | null | undefined;
  actions: MessageActions;
}

export const EDIT_WINDOW = 15 * 60_000;

/** Whether its sender may still change the text; the server has the last word. */
export function isEditable(message: ChatMessage): boolean {
  return message.isOwn && message.id !== null && !message.is_deleted && message.message_type === "text"
    && Date.now() - Date.parse(message.created_at) < EDIT_WINDOW;
}

export const MessageItem = memo(function MessageItem(props: MessageItemProps): ReactElement {
  const { message, peerName, startsRun, endsRun, isTabStop, isHighlighted, actions } = props;
  const { t, format } = usePreferences();
  if (message.message_type === "system") {
    return (
      <li className="system" data-key={message.key} tabIndex={isTabStop ? 0 : -1}>
        <MessageText text={message.content} />
      </li>
    );
  }
  const hasMenu = message.id !== null && !message.is_deleted;
  return (
    <li
      className="message" data-key={message.key} data-testid="message" data-own={message.isOwn || undefined}
      data-state={message.state} data-starts={startsRun || undefined} data-ends={endsRun || undefined}
      data-highlighted={isHighlighted || undefined} tabIndex={isTabStop ? 0 : -1} onKeyDown={openMenuByKey}
    >
      <div className="bubble">
        <span className="sr-only">{message.isOwn ? t.you : peerName}: </span>
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
          groups={() => [{ items: menuItems(message, actions, t) }]}
        />
      )}
      {message.state === "failed" && <Failure message={message} actions={actions} />}
    </li>
  );
});

function Body({ message }: { message: ChatMessage }): ReactElement {
  const { t } = usePreferences();
  if (message.is_deleted) return <em className="message-deleted">{t.deleted}</em>;
  const url = message.attachment?.url ?? message.media_url;
  return (
    <>
      {url !== null && (
        <a className="media" href={url} target="_blank" rel="noopener noreferrer" tabIndex={-1}>
          <Icon name={message.message_type === "image" ? "photo" : "document"} />
          <span>{message.attachment?.file_name ?? t.openMedia}</span>
        </a>
      )}
      {message.content !== "" && <MessageText text={message.content} />}
    </>
  );
}

function Quote({ quoted, peerName, actions }: MessageItemProps): ReactElement | null {
  const { t } = usePreferences();
  if (quoted === undefined) return null;
  if (quoted === null) return <span className="quote">{t.earlierMessage}</span>;
  const name = quoted.isOwn ? t.you : peerName;
  return (
    <button type="button" className="quote" tabIndex={-1} aria-label={t.replyTo(name)} onClick={() => { actions.show(quoted); }}>
      <strong>{name}</strong>
      <span>{summary(quoted, t)}</span>
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
  return message.content || (message.message_type === "image" ? t.photo : t.document);
}

function menuItems(message: ChatMessage, actions: MessageActions, t: Dictionary): MenuItem[] {
  const items: MenuItem[] = [{ label: t.reply, icon: "reply", onSelect: () => { actions.reply(message); } }];
  if (message.content !== "") items.push({ label: t.copy, icon: "copy", onSelect: () => { actions.copy(message); } });
  if (isEditable(message)) items.push({ label: t.edit, icon: "edit", onSelect: () => { actions.edit(message); } });
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
