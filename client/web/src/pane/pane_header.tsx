/** The top of a conversation: with whom, about what, and whether they are there. */

import type { Conversation, PeerPresence, User } from "chatserver-client";
import { useEffect, useRef, type ReactElement } from "react";

import { usePreferences } from "../preferences";
import { Avatar } from "../ui/avatar";
import { Icon } from "../ui/icon";
import { Menu } from "../ui/menu";
import { isTouch } from "../ui/use_window";

export interface PaneHeaderProps {
  conversation: Conversation;
  peer: User;
  name: string;
  /** Null while it is not known. */
  presence: PeerPresence | null;
  isTyping: boolean;
  isArchived: boolean;
  onBack: () => void;
  onArchive: (isArchived: boolean) => void;
}

export function PaneHeader(props: PaneHeaderProps): ReactElement {
  const { conversation, peer, name, presence, isTyping, isArchived, onBack, onArchive } = props;
  const { t, format } = usePreferences();
  const title = useRef<HTMLHeadingElement>(null);
  // Where no keyboard should open, screen readers begin at the name.
  useEffect(() => { if (isTouch()) title.current?.focus({ preventScroll: true }); }, []);
  const { listing } = conversation;
  const isOnline = presence?.is_online ?? false;
  const status = isTyping ? t.typing : isOnline ? t.online
    : presence?.last_seen_at ? t.lastSeen(format.moment(presence.last_seen_at)) : presence ? t.offlinePresence : "\u00a0";
  return (
    <header className="pane-header">
      <div className="pane-person">
        <button type="button" className="icon-button pane-back" aria-label={t.back} title={t.back} onClick={onBack}>
          <Icon name="back" />
        </button>
        <Avatar user={peer} name={name} isOnline={isOnline} />
        <div className="pane-title">
          <h2 ref={title} tabIndex={-1}>{name}</h2>
          <p className="pane-status" data-testid="peer-status" data-live={isTyping || isOnline}>{status}</p>
        </div>
        <Menu
          label={t.conversationMenu}
          groups={() => [{ items: [{
            label: isArchived ? t.unarchive : t.archive, icon: "archive", onSelect: () => { onArchive(!isArchived); },
          }] }]}
        />
      </div>
      <div className="pane-listing">
        <Icon name="house" />
        <span className="ellipsis">{listing.title ?? t.unknownListing}</span>
        {listing.price !== null && <strong>{format.price(listing.price, listing.currency)}</strong>}
      </div>
    </header>
  );
}
