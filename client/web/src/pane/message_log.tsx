/** The messages of a conversation, oldest at the top, in days. */

import type { ChatMessage } from "chatserver-client";
import { useServerConfig, type Chat } from "chatserver-client/react";
import { Fragment, useCallback, useEffect, useMemo, useRef, useState, type ReactElement } from "react";

import type { People } from "../people";
import { usePreferences } from "../preferences";
import { Icon } from "../ui/icon";
import { isolated } from "../ui/plain";
import { useRoving } from "../ui/use_roving";
import { useIsFocused } from "../ui/use_window";
import { Announcer } from "./announcer";
import { MessageItem, type MessageActions } from "./message_item";
import { countUnread, layOut } from "./timeline";
import { useLogScroll } from "./use_log_scroll";
import { useReading } from "./use_reading";
import { useSeen } from "./use_seen";

export interface MessageLogProps {
  chat: Chat;
  people: People;
  actions: Omit<MessageActions, "show">;
  /** Stands in for the messages of a conversation that has none. */
  empty: ReactElement;
}

const HIGHLIGHT = 1_600;

export function MessageLog({ chat, people, actions, empty }: MessageLogProps): ReactElement {
  const { t, format } = usePreferences();
  const { messages, conversation, hasOlder, hasNewer, isLoading, error, loadOlder, loadNewer } = chat;
  const { edit_window: editWindow } = useServerConfig();
  const [highlighted, setHighlighted] = useState<string | null>(null);
  const { activeKey, handlers } = useRoving();
  const canLoad = !isLoading && error === null;
  const onNearTop = useCallback(() => { if (canLoad && hasOlder) void loadOlder(); }, [canLoad, hasOlder, loadOlder]);
  const onNearBottom = useCallback(() => { if (canLoad && hasNewer) void loadNewer(); }, [canLoad, hasNewer, loadNewer]);
  const scrollerRef = useRef<HTMLDivElement>(null);
  const contentRef = useRef<HTMLDivElement>(null);
  const readSeq = conversation?.read_seq ?? 0;
  const unread = conversation?.unread_count ?? 0;
  const version = useMemo(() => ({ messages, readSeq }), [messages, readSeq]);
  const { isAtBottom, isUnseenAbove, onScroll, toBottom, arriveAgain, toMessage } = useLogScroll(
    { scrollerRef, contentRef }, { version, isEmpty: messages.length === 0, isLive: !hasNewer, onNearTop, onNearBottom },
  );
  const isFocused = useIsFocused();
  const reading = useReading(chat, isFocused && isAtBottom);
  const { readUpTo, markedCount, mark } = reading;
  useSeen(scrollerRef, chat, isFocused);

  const days = useMemo(() => layOut(messages, readUpTo, hasOlder), [messages, readUpTo, hasOlder]);
  const bySeq = useMemo(() => new Map(messages.map((message) => [message.seq, message])), [messages]);
  const first = messages[0];
  const last = messages[messages.length - 1];
  const isAllHeld = !hasNewer && (first?.seq ?? Infinity) <= (readUpTo ?? 0) + 1;
  const newCount = isAllHeld ? countUnread(messages, readUpTo ?? 0) : markedCount;
  const firstUnread = days.flatMap(({ items }) => items).find((item) => item.isFirstUnread)?.message;
  const stop = messages.some(({ key }) => key === activeKey) ? activeKey : (firstUnread ?? last)?.key;
  const writing = last?.state === "sending" ? last.key : undefined;
  useEffect(() => { if (writing !== undefined) toBottom(); }, [writing, toBottom]);

  const goToNewest = (): void => {
    if (hasNewer) {
      arriveAgain("bottom");
      chat.toNewest();
    } else toBottom();
    scrollerRef.current?.focus({ preventScroll: true });
  };
  const goToUnread = (): void => {
    mark();
    arriveAgain("mark");
    chat.toUnread();
    scrollerRef.current?.focus({ preventScroll: true });
  };
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
        aria-label={t.messagesWith(isolated(people.title))} data-testid="log" tabIndex={-1} onScroll={onScroll} {...handlers}
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
                        <span>{t.newMessages(newCount)}</span>
                      </li>
                    )}
                    <MessageItem
                      message={message} people={people} startsRun={startsRun} endsRun={endsRun}
                      isTabStop={message.key === stop} isHighlighted={message.key === highlighted} actions={allActions}
                      isUnseen={people.isParticipant && !message.isOwn && (message.seq ?? 0) > readSeq} editWindow={editWindow}
                      quoted={message.reply_to_seq === null ? undefined : bySeq.get(message.reply_to_seq) ?? null}
                    />
                  </Fragment>
                ))}
              </ol>
            </section>
          ))}
          {hasNewer && <div className="log-top" role="status"><span className="spinner" /><span className="sr-only">{t.loadingMessages}</span></div>}
          {!hasNewer && chat.typingUserIds.length > 0 && <TypingBubble name={people.typing(chat.typingUserIds, messages)} />}
        </div>
      </div>
      {messages.length > 0 && unread > 0 && isAtBottom && (isUnseenAbove || (first?.seq ?? 0) > readSeq + 1) && (
        <button
          type="button" className="to-unread" aria-label={t.toUnread(unread)} title={t.toUnread(unread)}
          data-testid="to-unread" onClick={goToUnread}
        >
          <Icon name="up" /><span aria-hidden="true">{t.newMessages(unread)}</span>
        </button>
      )}
      {messages.length > 0 && !isAtBottom && (
        <button
          type="button" className="to-newest" aria-label={t.toNewest(unread)} title={t.toNewest(unread)} data-testid="to-newest" onClick={goToNewest}
        >
          <Icon name="down" />
          {unread > 0 && <span className="badge" aria-hidden="true">{unread}</span>}
        </button>
      )}
      <Announcer chat={chat} people={people} reading={reading} newCount={newCount} />
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
