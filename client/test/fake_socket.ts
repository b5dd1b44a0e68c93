/** One client's connection to the fake server. */

import { ChatRequestError, localError } from "../src/errors.js";
import type { Requests } from "../src/protocol.js";
import type { ServerEvent, Transport, TransportListener } from "../src/transport.js";
import type { FakeServer } from "./fake_server.js";

/** Requests and events go through the server's `network`. */
export class FakeSocket implements Transport {
  userId = "";
  #epoch = 0;
  readonly #server: FakeServer;
  readonly #listener: TransportListener;
  readonly #pending = new Set<(error: Error) => void>();

  constructor(server: FakeServer, listener: TransportListener) {
    this.#server = server;
    this.#listener = listener;
  }

  open(token: string): void {
    const epoch = ++this.#epoch;
    queueMicrotask(() => {
      if (epoch !== this.#epoch) return;
      const error = this.#server.isDown ? localError("offline").toJSON() : this.#server.refuse(token);
      if (error) {
        this.#listener.failed(error);
        return;
      }
      this.userId = (JSON.parse(atob(token.split(".")[1] ?? "")) as { sub: string }).sub;
      this.#server.sockets.add(this);
      this.#listener.connected();
    });
  }

  close(): void {
    this.#epoch += 1;
    this.#server.sockets.delete(this);
    for (const reject of this.#pending) reject(localError("disconnected"));
    this.#pending.clear();
  }

  cut(reason: string, isRestart = false): void {
    this.close();
    this.#listener.disconnected(reason, isRestart);
  }

  hear(event: ServerEvent): void {
    if (this.#server.sockets.has(this)) this.#listener.event(structuredClone(event));
  }

  request<E extends keyof Requests>(event: E, payload: Requests[E][0], timeoutMs: number): Promise<Requests[E][1]> {
    const epoch = this.#epoch;
    return new Promise((resolve, reject) => {
      this.#pending.add(reject);
      setTimeout(() => { reject(localError("timeout")); }, timeoutMs);
      this.#server.network(() => {
        if (epoch !== this.#epoch) return;
        this.#answer(event, payload, (answer) => {
          this.#server.network(() => {
            if (epoch !== this.#epoch) return;
            if (answer instanceof Error) reject(answer);
            else resolve(structuredClone(answer));
          }, "ack");
        });
      }, "ack");
    });
  }

  send<E extends keyof Requests>(event: E, payload: Requests[E][0]): void {
    this.#answer(event, payload, () => undefined);
  }

  #answer<E extends keyof Requests>(
    event: E, payload: Requests[E][0], give: (answer: Requests[E][1] | Error) => void,
  ): void {
    const failure = this.#server.fail(event, payload);
    if (failure === "lose") return;
    this.#server.log.push({ userId: this.userId, event, payload });
    if (typeof failure === "object") {
      give(new ChatRequestError(failure));
      return;
    }
    try {
      const answer = this.#server.answer(this.userId, event, payload);
      if (failure !== "lose_ack") give(answer);
    } catch (error) {
      give(error as Error);
    }
  }
}
