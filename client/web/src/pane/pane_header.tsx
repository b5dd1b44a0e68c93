/** The top of a conversation: with whom, about what, and whether they are there. */

import type { Conversation, PeerPresence } from "chatserver-client";
import { useEffect, useRef, type ReactElement } from "react";

import type { Author, People } from "../people";
import { usePreferences } from "../preferences";
import { Avatar, AvatarPair } from "../ui/avatar";
import { Icon } from "../ui/icon";
import { Menu, type MenuItem } from "../ui/menu";
import { plainName } from "../ui/plain";
import { isTouch } from "../ui/use_window";

export interface PaneHeaderProps {
  conversation: Conversation;
  people: People;
  /** Authors who write here besides the two. */
  voices: readonly Author[];
  /** Null while it is not known. */
  presence: PeerPresence | null;
  /** Names of those who type, in words; null when nobody does. */
  typing: string | null;
  isArchived: boolean;
  onBack: () => void;
  /** Only a participant can. */
  onArchive: ((isArchived: boolean) => void) | undefined;
  /** While something is unread. */
  onReadAll: (() => void) | undefined;
}

export function PaneHeader(props: PaneHeaderProps): ReactElement {
  const { conversation, people, voices, presence, typing, isArchived, onBack, onArchive, onReadAll } = props;
  const { t, format } = usePreferences();
  const title = useRef<HTMLHeadingElement>(null);
  // Where no keyboard should open, screen readers begin at the name.
  useEffect(() => { if (isTouch()) title.current?.focus({ preventScroll: true }); }, []);
  const { listing } = conversation;
  const isOnline = presence?.is_online ?? false;
  const [person] = people.shown;
  const status = typing ?? (isOnline ? t.online
    : presence?.last_seen_at ? t.lastSeen(format.moment(presence.last_seen_at)) : presence ? t.offlinePresence : "\u00a0");
  const items: MenuItem[] = [];
  if (onReadAll) items.push({ label: t.markAllRead, icon: "check", onSelect: onReadAll });
  if (onArchive) items.push({ label: isArchived ? t.unarchive : t.archive, icon: "archive", onSelect: () => { onArchive(!isArchived); } });
  return (
    <header className="pane-header">
      <div className="pane-person">
        <button type="button" className="icon-button pane-back" aria-label={t.back} title={t.back} onClick={onBack}>
          <Icon name="back" />
        </button>
        {people.isParticipant && person ? <Avatar user={person} name={people.title} isOnline={isOnline} /> : <AvatarPair users={people.shown} />}
        <div className="pane-title">
          <h2 ref={title} tabIndex={-1} data-testid="pane-title"><bdi>{people.title}</bdi></h2>
          <p className="pane-status" data-testid="peer-status" data-live={typing !== null || isOnline}>{status}</p>
        </div>
        {items.length > 0 && <Menu label={t.conversationMenu} groups={() => [{ items }]} />}
      </div>
      <div className="pane-listing">
        <Icon name="house" />
        <bdi className="ellipsis">{listing.title === null ? t.unknownListing : plainName(listing.title)}</bdi>
        {listing.price !== null && <strong>{format.price(listing.price, listing.currency)}</strong>}
      </div>
      {voices.length > 0 && (
        <p className="pane-voices" data-testid="third-voices">
          <Icon name="shield" /><span>{t.thirdVoices(voices.length)}</span>
          {voices.map(({ name, role }) => (
            <span key={`${name} ${role ?? ""}`} className="pane-voice"><bdi>{name}</bdi>{role !== null && <> · {role}</>}</span>
          ))}
        </p>
      )}
    </header>
  );
}
