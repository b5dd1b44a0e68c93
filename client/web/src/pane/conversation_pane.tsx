/** The right column: one conversation, from its header to the field that one writes in. */

import { ChatRequestError, type ChatMessage } from "chatserver-client";
import { useChat, useChatClient, useConversations } from "chatserver-client/react";
import { useCallback, useMemo, useState, type ReactElement } from "react";

import { peopleOf, thirdVoices } from "../people";
import { errorText, usePreferences } from "../preferences";
import { Confirmation } from "../ui/confirmation";
import { Empty } from "../ui/empty";
import { Icon } from "../ui/icon";
import { useNotice } from "../ui/notice";
import { isolated } from "../ui/plain";
import { Composer, type Focus } from "./composer";
import { MessageLog } from "./message_log";
import { PaneHeader } from "./pane_header";

export interface ConversationPaneProps {
  id: string;
  onBack: () => void;
}

const NOTHING: readonly ChatMessage[] = [];

/** Give it the conversation's id as its `key` too. */
export function ConversationPane({ id, onBack }: ConversationPaneProps): ReactElement {
  const { t, format } = usePreferences();
  const client = useChatClient();
  const opened = useChat(id, undefined, { openAt: "unread" });
  // Until it is open it would be shown at its end, for a moment.
  const chat = opened.isOpen ? opened : { ...opened, messages: NOTHING, isLoading: true };
  const { conversations } = useConversations();
  const item = conversations.find((candidate) => candidate.id === id);
  const { notify, notice } = useNotice();
  const [focus, setFocus] = useState<Focus>(null);
  const [doomed, setDoomed] = useState<ChatMessage | null>(null);
  const { conversation, retry, discard, remove } = chat;

  const onError = useCallback((thrown: unknown) => {
    notify(thrown instanceof ChatRequestError ? errorText(t, thrown) : t.unknownError);
  }, [notify, t]);
  const actions = useMemo(() => ({
    reply: (message: ChatMessage) => { setFocus({ kind: "reply", message }); },
    edit: (message: ChatMessage) => { setFocus({ kind: "edit", message }); },
    remove: (message: ChatMessage) => { setDoomed(message); },
    copy: (message: ChatMessage) => {
      navigator.clipboard.writeText(message.content).then(() => { notify(t.copied); }, onError);
    },
    retry,
    discard,
  }), [setFocus, setDoomed, retry, discard, notify, onError, t]);

  const people = useMemo(() => (item ? peopleOf(item, t, format.list) : null), [item, t, format]);
  if (!conversation || !item || !people) {
    return chat.error ? <Missing onBack={onBack} /> : <Loading onBack={onBack} />;
  }
  const voices = thirdVoices(conversation.last_message ? [...chat.messages, conversation.last_message] : chat.messages, people, client.userId);
  const { typingUserIds } = chat;
  const isPeer = people.isParticipant && typingUserIds.length === 1 && typingUserIds[0] === item.peer.id;
  const typing = typingUserIds.length === 0 ? null : isPeer ? t.typing : t.isTyping(people.typing(typingUserIds, chat.messages));
  const confirmRemoval = (): void => {
    setDoomed(null);
    if (doomed?.id) {
      remove(doomed.id).catch(onError);
      // Its menu, where the focus would return to, goes with its text.
      requestAnimationFrame(() => { focusMessage(doomed.key); });
    }
    if (focus?.message.key === doomed?.key) setFocus(null);
  };
  const archive = (isArchived: boolean): void => {
    client.archive(id, isArchived).then(() => { if (isArchived) onBack(); }, onError);
  };
  return (
    <>
      <PaneHeader
        conversation={conversation} people={people} voices={voices} typing={typing} onBack={onBack}
        presence={chat.isConnected && item.isParticipant ? item.peer_presence : null}
        isArchived={item.isArchived} onArchive={item.isParticipant ? archive : undefined}
        onReadAll={conversation.unread_count > 0 ? () => { chat.markRead(); } : undefined}
      />
      <MessageLog
        chat={chat} people={people} actions={actions}
        empty={<Beginning name={isolated(people.title)} isClient={conversation.client_user_id === client.userId} onSend={chat.sendMessage} />}
      />
      {notice}
      {conversation.is_active
        ? <Composer chat={chat} conversationId={id} people={people} focus={focus} onFocus={setFocus} />
        : <p className="pane-closed">{t.closed}</p>}
      {doomed && (
        <Confirmation
          title={t.removeQuestion} hint={t.removeHint} action={t.remove}
          onConfirm={confirmRemoval} onCancel={() => { setDoomed(null); }}
        />
      )}
    </>
  );
}

function focusMessage(key: string): void {
  document.querySelector<HTMLElement>(`.message[data-key="${CSS.escape(key)}"]`)?.focus({ preventScroll: true });
}

/** A conversation without messages: three ways to begin it, for the one who asks. */
function Beginning({ name, isClient, onSend }: {
  name: string; isClient: boolean; onSend: (text: string) => void;
}): ReactElement {
  const { t } = usePreferences();
  return (
    <Empty icon="chat" title={t.sayHello(name)} hint={t.sayHelloHint}>
      {isClient && (
        <div className="openers">
          {t.openers.map((opener) => (
            <button key={opener} type="button" className="opener" onClick={() => { onSend(opener); }}>{opener}</button>
          ))}
        </div>
      )}
    </Empty>
  );
}

function Missing({ onBack }: { onBack: () => void }): ReactElement {
  const { t } = usePreferences();
  return (
    <div className="pane-center" role="alert">
      <Empty icon="alert" title={t.conversationMissing}>
        <button type="button" className="button" onClick={onBack}>{t.back}</button>
      </Empty>
    </div>
  );
}

function Loading({ onBack }: { onBack: () => void }): ReactElement {
  const { t } = usePreferences();
  return (
    <>
      <header className="pane-header">
        <div className="pane-person">
          <button type="button" className="icon-button pane-back" aria-label={t.back} onClick={onBack}><Icon name="back" /></button>
        </div>
      </header>
      <div className="pane-center" role="status"><span className="spinner" /><span className="sr-only">{t.loadingMessages}</span></div>
    </>
  );
}
