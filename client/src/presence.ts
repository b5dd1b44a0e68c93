/** Presence of users, as far as this device was told: best effort, newest word wins. */

import type { Tick } from "./log.js";
import { Signal } from "./observable.js";
import type { PeerPresence, PresenceEvent } from "./protocol.js";

interface Known extends PeerPresence {
  /** Time of the event that said so (server time), or null from a snapshot. */
  timestamp: string | null;
  tick: Tick;
}

/** Presence by user id. */
export class PresenceMap {
  readonly #known = new Map<string, Known>();
  readonly #signal = new Signal();
  readonly subscribe = this.#signal.subscribe;

  /** Undefined for a user whom this device has not heard of. */
  get(userId: string): PeerPresence | undefined {
    return this.#known.get(userId);
  }

  /** A `presence` event; an older one than the last is dropped. */
  event(event: PresenceEvent, now: Tick): void {
    const { user_id, is_online, last_seen_at, timestamp } = event;
    const known = this.#known.get(user_id);
    if (known?.timestamp !== null && known?.timestamp !== undefined && known.timestamp > timestamp) return;
    this.#set(user_id, { is_online, last_seen_at, timestamp, tick: now });
  }

  /** A conversation's `peer_presence`, asked for at `since`: events after that know better. */
  snapshot(userId: string, presence: PeerPresence | null, since: Tick): void {
    const known = this.#known.get(userId);
    if (!presence || (known && known.tick > since)) return;
    this.#set(userId, { ...presence, timestamp: null, tick: since });
  }

  clear(): void {
    this.#known.clear();
    this.#signal.emit();
  }

  #set(userId: string, next: Known): void {
    const before = this.#known.get(userId);
    this.#known.set(userId, next);
    if (before?.is_online !== next.is_online || before.last_seen_at !== next.last_seen_at) this.#signal.emit();
  }
}
