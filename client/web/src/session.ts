/**
 * User of the page. The token comes in the link's fragment, which browsers
 * send to no server; it is taken out of the address bar at once and kept in the
 * window's own storage, so that two windows can be two people.
 */

/** A listing that the link offers to start a conversation about. */
export interface Offer {
  id: string;
  title: string;
}

export interface Session {
  token: string;
  offers: Offer[];
  /** Open, or start, the conversation about this listing first. */
  listingId: string | null;
}

const KEY = "chatserver:session";

/**
 * Reads `#token=…` with optional `conversation=<id>`, `listing=<id>` and any number of
 * `offer=<id>~<title>`; without a token the session that this window had before.
 */
export function readSession(): Session | null {
  const params = new URLSearchParams(location.hash.slice(1));
  const token = params.get("token");
  if (!token) return restored();
  const session: Session = { token, offers: params.getAll("offer").map(parseOffer), listingId: null };
  keep(session);
  const conversation = params.get("conversation");
  const rest = conversation ? `#conversation=${encodeURIComponent(conversation)}` : "";
  history.replaceState(null, "", `${location.pathname}${location.search}${rest}`);
  return { ...session, listingId: params.get("listing") };
}

/** A link for somebody else that is pasted into this window changes who it is. */
export function watchForNewLink(): void {
  window.addEventListener("hashchange", () => {
    if (!new URLSearchParams(location.hash.slice(1)).has("token")) return;
    location.reload(); // with the fragment still in place
  });
}

function parseOffer(text: string): Offer {
  const [id = "", ...title] = text.split("~");
  return { id, title: title.join("~") };
}

function restored(): Session | null {
  try {
    const kept = sessionStorage.getItem(KEY);
    return kept === null ? null : (JSON.parse(kept) as Session);
  } catch {
    return null;
  }
}

function keep(session: Session): void {
  try {
    sessionStorage.setItem(KEY, JSON.stringify(session));
  } catch { /* then a reload needs the link again */ }
}
