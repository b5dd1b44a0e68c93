/** The whole chat: the list and a conversation, side by side where there is room. */

import { ChatRequestError } from "chatserver-client";
import { useChatClient, useUnreadCount } from "chatserver-client/react";
import { useEffect, useRef, type ReactElement } from "react";

import { Announcement } from "./announcement";
import { Banner } from "./banner";
import { ConversationList } from "./list/conversation_list";
import { ListHeader } from "./list/list_header";
import { closeConversation, openConversation, useOpenConversation } from "./navigation";
import { ConversationPane } from "./pane/conversation_pane";
import { errorText, usePreferences } from "./preferences";
import type { Session } from "./session";
import { Empty } from "./ui/empty";
import { useNotice } from "./ui/notice";

export function ChatScreen({ session }: { session: Session }): ReactElement {
  const { t } = usePreferences();
  const openId = useOpenConversation();
  const pane = useRef<HTMLElement>(null);
  const { notify, notice } = useNotice();
  useTitle();
  useFocusOnReturn(openId);
  useFirstListing(session.listingId, notify);
  return (
    <div className="app" data-view={openId === null ? "list" : "conversation"}>
      <button type="button" className="skip-link" onClick={() => { pane.current?.focus(); }}>{t.skipToMessages}</button>
      <div className="top">
        <Banner />
        <Announcement />
      </div>
      <main className="columns">
        <h1 className="sr-only">{t.appName}</h1>
        <nav className="list" aria-label={t.conversations}>
          <ListHeader />
          <ConversationList openId={openId} offers={session.offers} onOpen={openConversation} />
          {notice}
        </nav>
        <section ref={pane} className="pane" tabIndex={-1} aria-label={t.conversation}>
          {openId === null
            ? <div className="pane-center"><Empty icon="chat" title={t.chooseConversation} hint={t.chooseConversationHint} /></div>
            : <ConversationPane key={openId} id={openId} onBack={closeConversation} />}
        </section>
      </main>
    </div>
  );
}

/** The number of unread messages stands in the tab's title. */
function useTitle(): void {
  const { t } = usePreferences();
  const unread = useUnreadCount();
  useEffect(() => { document.title = unread > 0 ? `(${unread}) ${t.appName}` : t.appName; }, [unread, t]);
}

/** Back in the list, the keyboard is where one left it. */
function useFocusOnReturn(openId: string | null): void {
  const previous = useRef(openId);
  useEffect(() => {
    const left = previous.current;
    previous.current = openId;
    if (openId !== null || left === null) return;
    document.querySelector<HTMLElement>(`.rows [data-key="${CSS.escape(left)}"]`)?.focus();
  }, [openId]);
}

/** The link named a listing: straight into the conversation about it. */
function useFirstListing(listingId: string | null, notify: (text: string) => void): void {
  const { t } = usePreferences();
  const client = useChatClient();
  const pending = useRef(listingId);
  useEffect(() => {
    const wanted = pending.current;
    pending.current = null;
    if (wanted === null) return;
    client.createConversation(wanted).then(
      ({ id }) => { openConversation(id); },
      (thrown: unknown) => { notify(thrown instanceof ChatRequestError ? errorText(t, thrown) : t.unknownError); },
    );
  }, [client, notify, t]);
}
