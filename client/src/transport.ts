/** Interface of the client to a connection; `socketio.ts` is the real one, tests bring their own. */

import type { ChatError, Events, Requests } from "./protocol.js";

/** An event as one value, so that `switch (event.name)` narrows the payload. */
export type ServerEvent = { [E in keyof Events]: { name: E; payload: Events[E] } }[keyof Events];

/** Hears everything that happens on a connection. */
export interface TransportListener {
  /** The server accepted the token. */
  connected(): void;
  /** The attempt of `open` failed: no way to the server, or it refused. */
  failed(error: ChatError): void;
  /**
   * An open connection ended; `reason` is socket.io's, `isRestart`: the server said that
   * its node goes down, and that others are there. Requests under way were rejected before.
   */
  disconnected(reason: string, isRestart?: boolean): void;
  event(event: ServerEvent): void;
}

/** One connection at a time; it never comes back by itself. */
export interface Transport {
  /** Starts an attempt; the listener hears `connected` or `failed`. */
  open(token: string): void;
  /** Ends the connection or the attempt; the listener hears nothing more of it. */
  close(): void;
  /**
   * Emits and waits for the acknowledgement. Rejects with a `ChatRequestError`:
   * the server's own, or `offline`, `timeout`, `disconnected`.
   */
  request<E extends keyof Requests>(
    event: E, payload: Requests[E][0], timeoutMs: number,
  ): Promise<Requests[E][1]>;
  /** Emits without an answer; dropped when there is no connection. */
  send<E extends keyof Requests>(event: E, payload: Requests[E][0]): void;
}

export type TransportFactory = (listener: TransportListener) => Transport;

/** The part of the client that asks the server: what most modules are given. */
export interface Link {
  readonly isOnline: boolean;
  request<E extends keyof Requests>(
    event: E, payload: Requests[E][0], timeoutMs?: number,
  ): Promise<Requests[E][1]>;
  send<E extends keyof Requests>(event: E, payload: Requests[E][0]): void;
}

/** Milliseconds that an acknowledgement may take. */
export const ACK_TIMEOUT = 10_000;
