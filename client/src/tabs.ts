/** Coordination of one browser's tabs: a channel between them, and locks that one tab holds at a time. */

import type { Message } from "./protocol.js";

/** Message between tabs. */
export type TabMessage =
  /** The stored outbox has changed: read it again. */
  | { type: "outbox" }
  /** Another tab's send was acknowledged. */
  | { type: "sent"; message: Message };

/** Tabs of one browser. Without the browser's support this tab acts as if it were alone. */
export class Tabs {
  readonly #channel: BroadcastChannel | undefined;
  readonly #abort = new AbortController();
  readonly #name: string;

  constructor(name: string, onMessage: (message: TabMessage) => void) {
    this.#name = name;
    if (typeof BroadcastChannel === "undefined") return;
    this.#channel = new BroadcastChannel(name);
    this.#channel.onmessage = ({ data }: MessageEvent<TabMessage>) => { onMessage(data); };
    // In Node an open channel would keep the process alive.
    (this.#channel as { unref?: () => void }).unref?.();
  }

  /** To all other tabs of this user. */
  post(message: TabMessage): void {
    if (!this.#abort.signal.aborted) this.#channel?.postMessage(message);
  }

  /** Does `work` while no other tab does work under the same key; not at all once closed. */
  async exclusively(key: string, work: () => Promise<void>): Promise<void> {
    const locks = lockManager();
    if (this.#abort.signal.aborted) return;
    if (!locks) {
      await work();
      return;
    }
    const { signal } = this.#abort;
    let working: Promise<void> | undefined;
    try {
      await locks.request(`${this.#name}:${key}`, { signal }, () => (working = work()));
    } catch (error) {
      if (working) throw error;
      // Closed while waiting: then there is nothing to do. Or refused, as in a sandboxed frame.
      if (!signal.aborted) await work();
    }
  }

  close(): void {
    this.#abort.abort();
    this.#channel?.close();
  }
}

function lockManager(): LockManager | undefined {
  return (globalThis as { navigator?: { locks?: LockManager } }).navigator?.locks;
}
