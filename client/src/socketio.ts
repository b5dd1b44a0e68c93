/** The transport on socket.io-client: as thin as it can be, all policy is in `connection.ts`. */

import { io, type Socket } from "socket.io-client";

import { asChatError, ChatRequestError, localError } from "./errors.js";
import type { Ack, ChatError, ClientToServerEvents, Events, Requests, ServerToClientEvents } from "./protocol.js";
import type { ServerEvent, Transport, TransportFactory, TransportListener } from "./transport.js";

export interface SocketOptions {
  /** The server's origin, such as `https://chat.example.com`. */
  url: string;
  /** The Socket.IO path; `/socket.io` by default. */
  path?: string | undefined;
  /** In order of preference; the next one is tried when one cannot be opened. */
  transports?: ("websocket" | "polling")[] | undefined;
}

const EVENTS: (keyof Events)[] = [
  "message", "message_updated", "message_deleted", "conversation", "typing", "presence",
  "delivery_receipt", "read_receipt", "unread", "head", "notice", "error",
];

/** The websocket close code of a node that goes down. */
const SERVICE_RESTART = 1012;
const TOO_MANY_REQUESTS = 429;

/** Makes the transport of a `ChatClient`. */
export function socketIoTransport(options: SocketOptions): TransportFactory {
  return (listener) => new SocketIoTransport(options, listener);
}

class SocketIoTransport implements Transport {
  #token = "";
  #isOpen = false;
  readonly #socket: Socket<ServerToClientEvents, ClientToServerEvents>;

  constructor(options: SocketOptions, listener: TransportListener) {
    this.#socket = io(options.url, {
      path: options.path ?? "/socket.io",
      transports: options.transports ?? ["websocket", "polling"],
      tryAllTransports: true,
      autoConnect: false,
      reconnection: false, // connection.ts decides when, and with which token
      forceNew: true,
      timeout: 10_000,
      auth: (give) => { give({ token: this.#token }); },
    });
    this.#listen(listener);
  }

  #listen(listener: TransportListener): void {
    const socket = this.#socket;
    socket.on("connect", () => { if (this.#isOpen) listener.connected(); });
    socket.on("connect_error", (error) => { this.#end(() => { listener.failed(refusal(error)); }); });
    socket.on("disconnect", (reason, details) => {
      this.#end(() => { listener.disconnected(reason, closeCode(details) === SERVICE_RESTART); });
    });
    for (const name of EVENTS) {
      socket.on(name, (payload: Events[typeof name]) => {
        if (this.#isOpen) listener.event({ name, payload } as ServerEvent);
      });
    }
  }

  #end(tell: () => void): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    tell();
  }

  open(token: string): void {
    this.#token = token;
    this.#isOpen = true;
    this.#socket.connect();
  }

  close(): void {
    this.#isOpen = false;
    this.#socket.disconnect();
  }

  request<E extends keyof Requests>(event: E, payload: Requests[E][0], timeoutMs: number): Promise<Requests[E][1]> {
    if (!this.#socket.connected) return Promise.reject(localError("offline"));
    return new Promise((resolve, reject) => {
      const answered = (failure: Error | null, answer: Ack<Requests[E][1]>): void => {
        if (failure) reject(localError(this.#socket.connected ? "timeout" : "disconnected"));
        else if (answer.ok) resolve(answer);
        else reject(new ChatRequestError(answer.error));
      };
      // The typed emit cannot follow a generic event name.
      (this.#socket.timeout(timeoutMs) as unknown as UntypedEmitter).emit(event, payload, answered);
    });
  }

  send<E extends keyof Requests>(event: E, payload: Requests[E][0]): void {
    if (this.#socket.connected) (this.#socket.volatile as unknown as UntypedEmitter).emit(event, payload);
  }
}

/** The code of the websocket's close frame, where there was one. */
function closeCode(details: unknown): unknown {
  const { context } = (details ?? {}) as { context?: { code?: unknown } };
  return context?.code;
}

interface UntypedEmitter {
  emit(event: string, ...values: unknown[]): void;
}

/** A refused handshake carries the server's error object; anything else is the network. */
function refusal(error: Error & { data?: unknown }): ChatError {
  const data = error.data as Partial<ChatError> | undefined;
  if (typeof data?.code !== "string") return httpRefusal(error) ?? asChatError(error).toJSON();
  return { ...data, code: data.code, detail: data.detail ?? error.message, retryable: data.retryable ?? false };
}

/** Error of an HTTP response as a polling transport reports it; browsers' websockets report none. */
interface HttpFailure {
  context?: { status?: number; responseText?: string; getResponseHeader?: (name: string) => string | null };
}

/** A limit in front of the handshake answers by HTTP, before there is a connection to say it on. */
function httpRefusal(error: Error): ChatError | undefined {
  const { context } = error as HttpFailure;
  if (context?.status !== TOO_MANY_REQUESTS) return undefined;
  const told = parse(context.responseText);
  const seconds = told?.retry_after ?? Number(context.getResponseHeader?.("Retry-After") ?? NaN);
  return {
    code: "rate_limited", detail: told?.detail ?? error.message, retryable: true,
    ...(Number.isFinite(seconds) ? { retry_after: seconds } : {}),
  };
}

function parse(text: string | undefined): Partial<ChatError> | null {
  try {
    return JSON.parse(text ?? "null") as Partial<ChatError> | null;
  } catch {
    return null;
  }
}
