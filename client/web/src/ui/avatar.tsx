/** A person's picture, or their initials on a colour that is always the same for them. */

import type { User } from "chatserver-client";
import { useState, type ReactElement } from "react";

import { plainName } from "./plain";

const COLOURS = 8;

export interface AvatarProps {
  user: User;
  name: string;
  /** A dot for someone online; unknown is the same as offline. */
  isOnline?: boolean;
}

/** Decoration: the name is always written beside it. */
export function Avatar({ user, name, isOnline = false }: AvatarProps): ReactElement {
  const [isBroken, setBroken] = useState(false);
  const url = user.profile_picture_url;
  return (
    <span className="avatar" data-colour={colour(user.id)} aria-hidden="true">
      {url !== null && !isBroken
        ? <img src={url} alt="" loading="lazy" onError={() => { setBroken(true); }} />
        : initials(name)}
      {isOnline && <span className="avatar-dot" />}
    </span>
  );
}

/** Both people of a conversation that the reader takes no part in. */
export function AvatarPair({ users }: { users: readonly User[] }): ReactElement {
  return (
    <span className="avatar-pair">
      {users.map((user) => <Avatar key={user.id} user={user} name={fullName(user) ?? ""} />)}
    </span>
  );
}

/** First and last name as far as they are known. */
export function fullName(user: User): string | null {
  return plainName([user.first_name, user.last_name].filter(Boolean).join(" ")) || null;
}

function initials(name: string): string {
  const words = name.split(/\s+/).filter(Boolean);
  const picked = words.length > 1 ? [words[0], words[words.length - 1]] : words;
  return picked.map((word) => String.fromCodePoint(word?.codePointAt(0) ?? 0x20)).join("").toLocaleUpperCase();
}

function colour(id: string): number {
  let sum = 0;
  for (const letter of id) sum = (sum * 31 + (letter.codePointAt(0) ?? 0)) % 9973;
  return sum % COLOURS;
}
