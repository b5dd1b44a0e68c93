/** The left column: who one talks to, about what, and what is new. */

import { useChatClient, useConnection, useConversations } from "chatserver-client/react";
import type { ConversationItem } from "chatserver-client";
import { useDeferredValue, useMemo, useState, type ReactElement } from "react";

import { usePreferences } from "../preferences";
import type { Offer } from "../session";
import { fullName } from "../ui/avatar";
import { Empty } from "../ui/empty";
import { Icon } from "../ui/icon";
import { useRoving } from "../ui/use_roving";
import { ConversationRow } from "./conversation_row";
import { Offers } from "./offers";

export interface ConversationListProps {
  openId: string | null;
  offers: readonly Offer[];
  onOpen: (id: string) => void;
}

/** Fewer can be overlooked without searching. */
const SEARCH_FROM = 8;

export function ConversationList({ openId, offers, onOpen }: ConversationListProps): ReactElement {
  const { t } = usePreferences();
  const { conversations, isComplete } = useConversations();
  const [isArchive, setArchive] = useState(false);
  const [query, setQuery] = useState("");
  const wanted = useDeferredValue(query.trim());
  const archivedCount = conversations.filter((item) => item.isArchived).length;
  const isShowingArchive = isArchive && archivedCount > 0;
  const shown = useMemo(
    () => conversations.filter((item) => item.isArchived === isShowingArchive && matches(item, wanted)),
    [conversations, isShowingArchive, wanted],
  );
  const open = offers.filter((offer) => !conversations.some((item) => item.listing_id === offer.id));

  if (conversations.length === 0) {
    return isComplete ? <NoConversations offers={open} onOpen={onOpen} /> : <Waiting />;
  }
  return (
    <div className="list-body">
      {(conversations.length >= SEARCH_FROM || query !== "") && <Search query={query} onChange={setQuery} />}
      {isShowingArchive && (
        <button type="button" className="list-switch" onClick={() => { setArchive(false); }}>
          <Icon name="back" />{t.backToActive}
        </button>
      )}
      <Rows items={shown} openId={openId} onOpen={onOpen} />
      {shown.length === 0 && wanted !== "" && <p className="list-note" role="status">{t.nothingFound}</p>}
      {!isArchive && archivedCount > 0 && (
        <button type="button" className="list-switch" onClick={() => { setArchive(true); }}>
          <Icon name="archive" />{t.archived(archivedCount)}
        </button>
      )}
      {open.length > 0 && !isArchive && wanted === "" && <Offers offers={open} onOpen={onOpen} />}
    </div>
  );
}

function Rows({ items, openId, onOpen }: {
  items: readonly ConversationItem[]; openId: string | null; onOpen: (id: string) => void;
}): ReactElement {
  const { t } = usePreferences();
  const { userId } = useChatClient();
  const { status } = useConnection();
  const { activeKey, handlers } = useRoving();
  const has = (id: string | null): boolean => items.some((item) => item.id === id);
  const stop = has(activeKey) ? activeKey : has(openId) ? openId : items[0]?.id;
  return (
    <ul className="rows" aria-label={t.conversations} data-testid="conversation-list" {...handlers}>
      {items.map((item) => (
        <ConversationRow
          key={item.id} item={item} ownId={userId} knowsPresence={status === "online"} isOpen={item.id === openId} isTabStop={item.id === stop} onOpen={onOpen}
        />
      ))}
    </ul>
  );
}

function Search({ query, onChange }: { query: string; onChange: (query: string) => void }): ReactElement {
  const { t } = usePreferences();
  return (
    <div className="search" role="search">
      <Icon name="search" />
      <input
        type="search" value={query} placeholder={t.searchConversations} aria-label={t.searchConversations}
        onChange={(event) => { onChange(event.target.value); }}
        onKeyDown={(event) => { if (event.key === "Escape") onChange(""); }}
      />
    </div>
  );
}

function NoConversations({ offers, onOpen }: { offers: Offer[]; onOpen: (id: string) => void }): ReactElement {
  const { t } = usePreferences();
  return (
    <div className="list-body">
      <Empty icon="chat" title={t.noConversations} hint={t.noConversationsHint} />
      {offers.length > 0 && <Offers offers={offers} onOpen={onOpen} />}
    </div>
  );
}

/** Before the first answer: the shape of what is to come, or why nothing comes. */
function Waiting(): ReactElement {
  const { t } = usePreferences();
  const { status } = useConnection();
  if (status === "closed") return <div className="list-body" />; // the banner says why
  if (status === "offline") {
    return <div className="list-body"><p className="list-note" role="status">{t.noConversationsOffline}</p></div>;
  }
  return (
    <div className="list-body" role="status" aria-label={t.loadingConversations}>
      {[0, 1, 2, 3].map((index) => (
        <div key={index} className="row skeleton" aria-hidden="true">
          <span className="avatar" /><span className="row-main"><i /><i /><i /></span>
        </div>
      ))}
    </div>
  );
}

/** By a person's name or the listing's title, accents or not. */
function matches(item: ConversationItem, query: string): boolean {
  if (query === "") return true;
  const people = item.isParticipant ? [item.peer] : [item.client, item.owner];
  return plain(`${people.map((user) => fullName(user) ?? "").join(" ")} ${item.listing.title ?? ""}`).includes(plain(query));
}

function plain(text: string): string {
  return text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
}
