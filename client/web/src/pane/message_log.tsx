/** The messages of a conversation, oldest at the top, in days. */

import type { ChatMessage } from "chatserver-client";
import type { Chat } from "chatserver-client/react";
import { Fragment, useCallback, useEffect, useMemo, useRef, useState, type ReactElement } from "react";

import { usePreferences } from "../preferences";
import { Icon } from "../ui/icon";
import { useRoving } from "../ui/use_roving";
import { useIsFocused } from "../ui/use_window";
import { MessageItem, type MessageActions } from "./message_item";
import { countUnread, layOut } from "./timeline";
import { useLogScroll } from "./use_log_scroll";
import { useReading } from "./use_reading";

export interface MessageLogProps {
  chat: Chat;
  peerName: string;
  actions: Omit<MessageActions, "show">;
  /** Stands in for the messages of a conversation that has none. */
  empty: ReactElement;
}

const HIGHLIGHT = 1_600;
const ANNOUNCED = 3;

export function MessageLog({ chat, peerName, actions, empty }: MessageLogProps): ReactElement {
  const { t, format } = usePreferences();
  const { messages, hasOlder, isLoading, error, loadOlder } = chat;
  const [highlighted, setHighlighted] = useState<string | null>(null);
  const { activeKey, handlers } = useRoving();
  const canLoad = hasOlder && !isLoading && error === null;
  const onNearTop = useCallback(() => { if (canLoad) void loadOlder(); }, [canLoad, loadOlder]);
  const scrollerRef = useRef<HTMLDivElement>(null);
  const contentRef = useRef<HTMLDivElement>(null);
  const { isAtBottom, onScroll, toBottom, toMessage } =
    useLogScroll({ scrollerRef, contentRef }, messages, messages.length === 0, onNearTop);
  const isLooking = useIsFocused() && isAtBottom;
  const { readUpTo, openedAt } = useReading(chat, isLooking);

  const days = useMemo(() => layOut(messages, readUpTo, hasOlder), [messages, readUpTo, hasOlder]);
  const bySeq = useMemo(() => new Map(messages.map((message) => [message.seq, message])), [messages]);
  const last = messages[messages.length - 1];
  const stop = messages.some(({ key }) => key === activeKey) ? activeKey : last?.key;
  const writing = last?.state === "sending" ? last.key : undefined;
  useEffect(() => { if (writing !== undefined) toBottom(); }, [writing, toBottom]);

  const allActions = useMemo<MessageActions>(() => ({
    ...actions,
    show: ({ key }: ChatMessage) => {
      if (!toMessage(key)) return;
      setHighlighted(key);
      setTimeout(() => { setHighlighted(null); }, HIGHLIGHT);
    },
  }), [actions, toMessage]);

  return (
    <div className="log-frame">
      <div
        ref={scrollerRef} className="log" role="log" aria-live="off" aria-busy={isLoading}
        aria-label={t.messagesWith(peerName)} data-testid="log" tabIndex={-1} onScroll={onScroll} {...handlers}
      >
        <div ref={contentRef} className="log-content">
          <Top chat={chat} />
          {messages.length === 0 && !isLoading && !error && empty}
          {days.map((day) => (
            <section key={day.key} className="day" aria-label={format.day(day.when)}>
              <h3 className="day-label"><time dateTime={day.when}>{format.day(day.when)}</time></h3>
              <ol>
                {day.items.map(({ message, startsRun, endsRun, isFirstUnread }) => (
                  <Fragment key={message.key}>
                    {isFirstUnread && (
                      <li className="unread-mark" data-unread-mark="" data-testid="unread-mark">
                        <span>{t.newMessages(countUnread(messages, readUpTo ?? 0))}</span>
                      </li>
                    )}
                    <MessageItem
                      message={message} peerName={peerName} startsRun={startsRun} endsRun={endsRun}
                      isTabStop={message.key === stop} isHighlighted={message.key === highlighted} actions={allActions}
                      quoted={message.reply_to_seq === null ? undefined : bySeq.get(message.reply_to_seq) ?? null}
                    />
                  </Fragment>
                ))}
              </ol>
            </section>
          ))}
          {chat.typingUserIds.length > 0 && <TypingBubble name={peerName} />}
        </div>
      </div>
      {messages.length > 0 && !isAtBottom && (
        <button
          type="button" className="to-newest" aria-label={t.toNewest} title={t.toNewest}
          onClick={() => {
            toBottom();
            scrollerRef.current?.focus({ preventScroll: true });
          }}
        >
          <Icon name="down" />
          <UnreadBadge count={chat.conversation?.unread_count ?? 0} />
        </button>
      )}
      <div className="sr-only" aria-live="polite" data-testid="announcer">
        {messages.filter((message) => !message.isOwn && (message.seq ?? 0) > openedAt).slice(-ANNOUNCED).map((message) => (
          <p key={message.key}>{peerName}: {message.is_deleted ? t.deleted : message.content}</p>
        ))}
      </div>
    </div>
  );
}

/** Above the oldest message that is there: what comes next. */
function Top({ chat: { messages, hasOlder, isLoading, error, loadOlder } }: { chat: Chat }): ReactElement | null {
  const { t } = usePreferences();
  if (error) {
    return (
      <div className="log-top" role="alert">
        <span>{t.loadFailed}</span>
        <button type="button" className="link" onClick={() => { void loadOlder(); }}>{t.retry}</button>
      </div>
    );
  }
  if (isLoading || hasOlder) {
    return <div className="log-top" role="status"><span className="spinner" /><span className="sr-only">{t.loadingMessages}</span></div>;
  }
  return messages.length > 0 ? <p className="log-top">{t.beginning}</p> : null;
}

function TypingBubble({ name }: { name: string }): ReactElement {
  const { t } = usePreferences();
  return (
    <div className="message" data-starts="" data-ends="" data-testid="typing">
      <div className="bubble typing"><span className="sr-only">{t.isTyping(name)}</span><i /><i /><i /></div>
    </div>
  );
}

function UnreadBadge({ count }: { count: number }): ReactElement | null {
  const { t } = usePreferences();
  if (count === 0) return null;
  return <span className="badge"><span aria-hidden="true">{count}</span><span className="sr-only">{t.newMessages(count)}</span></span>;
}
