/** The client: wires its parts together and is the door to all of them. */

import { Config } from "./config.js";
import { Connection, type ConnectionState } from "./connection.js";
import type { LiveConversation } from "./conversation.js";
import { Conversations } from "./conversations.js";
import { silent, type Logger } from "./logger.js";
import type { Store } from "./observable.js";
import { Outbox } from "./outbox.js";
import type { NoticeEvent, PeerPresence, ServerConfig } from "./protocol.js";
import { Receipts } from "./receipts.js";
import { Rest, type Fetch } from "./rest.js";
import { Rooms } from "./rooms.js";
import { socketIoTransport } from "./socketio.js";
import { defaultOutbox, type OutboxStorage } from "./storage/index.js";
import { Sync } from "./sync.js";
import { readClaims, TokenSource, type TokenOption } from "./token.js";
import type { ServerEvent, TransportFactory } from "./transport.js";
import { Views } from "./view.js";
import { Visits } from "./visits.js";
import { watchWake } from "./wake.js";

/** Options of a `ChatClient`. */
export interface ChatClientOptions {
  /** The chat server's origin, such as `https://chat.example.com`. */
  url: string;
  /** A JWT, or a function that fetches one; the function is asked again before it expires. */
  token: TokenOption;
  /** Whose tokens these are (`sub`); lets a token function's user see their list while offline. */
  userId?: string;
  /** Storage of what must survive a reload; IndexedDB in browsers, memory elsewhere. */
  storage?: OutboxStorage;
  /** The Socket.IO path; `/socket.io` by default. */
  path?: string;
  /** Websocket first, then polling, by default. */
  transports?: ("websocket" | "polling")[];
  /** `console`, for example; nothing is logged by default. */
  logger?: Logger;
  /** Instead of the global `fetch`. */
  fetch?: Fetch;
  /** Instead of socket.io-client: for tests. */
  transport?: TransportFactory;
}

const PREFETCH = 30;
const PREFETCH_AT_ONCE = 2;
const LONG_HIDDEN = 30_000;
const PROBE_TIMEOUT = 5_000;

/**
 * One user's chat on one device. Make one for the whole application, `connect` it,
 * and read its stores; each has `subscribe` and `getSnapshot`.
 */
export class ChatClient {
  /** All conversations, and the unread total. */
  readonly conversations: Conversations;
  readonly #config: Config;
  readonly #identity: { userId: string } = { userId: "" };
  readonly #options: ChatClientOptions;
  readonly #logger: Logger;
  readonly #tokens: TokenSource;
  readonly #connection: Connection;
  readonly #rest: Rest;
  readonly #outbox: Outbox;
  readonly #receipts: Receipts;
  readonly #rooms: Rooms;
  readonly #sync: Sync;
  readonly #visits: Visits;
  readonly #noticeListeners = new Set<(notice: NoticeEvent) => void>();
  #loading: Promise<void> | undefined;
  #stopWatching: (() => void) | undefined;

  constructor(options: ChatClientOptions) {
    const storage = options.storage ?? defaultOutbox();
    const logger = options.logger ?? silent;
    this.#options = options;
    this.#logger = logger;
    this.#tokens = new TokenSource(options.token);
    this.#connection = new Connection(options.transport ?? socketIoTransport(options), this.#tokens, {
      identified: (userId) => { this.#identify(userId); },
      online: () => { void this.#online(); },
      offline: () => { this.#offline(); },
      event: (event) => { this.#event(event); },
    }, logger);
    const link = this.#connection;
    this.#rest = new Rest(options.url, options.fetch ?? ((url, init) => fetch(url, init)), this.#tokens);
    this.#config = new Config(this.#rest, logger);
    this.#visits = new Visits(storage, logger);
    this.#outbox = new Outbox({
      storage, link, logger,
      onChange: (id) => { this.conversation(id).refresh(); },
      onSent: (message) => { this.conversations.sent(message); },
    });
    this.#receipts = new Receipts({
      link, logger,
      onRefused: (id) => { this.conversation(id).refresh(); },
    });
    this.#rooms = new Rooms({
      link, logger,
      now: () => this.conversations.now,
      onJoined: (conversation, since) => { this.conversations.joined(conversation, since); },
      onRefused: (id, error) => { this.conversation(id).refused(error); },
    });
    this.conversations = new Conversations({
      identity: this.#identity,
      link, logger,
      rest: this.#rest,
      outbox: this.#outbox,
      receipts: this.#receipts,
      rooms: this.#rooms,
      views: new Views(this.#identity),
      requestSync: () => { this.#sync.request(); },
    });
    this.#sync = new Sync({
      link, logger,
      conversations: this.conversations,
      onDone: () => { this.#synced(); },
      onReset: () => { this.#reset(); },
      onTimeout: () => { link.restart("timeout"); },
    });
    this.conversations.subscribe(() => { this.#save(); });
  }

  /** State of the connection, and why there is none. */
  get connection(): Store<ConnectionState> {
    return this.#connection.state;
  }

  /** The server's limits: its own word once there is a connection, its defaults until then. */
  get config(): Store<ServerConfig> {
    return this.#config;
  }

  /** Whose client this is; null until the first token is there. */
  get userId(): string | null {
    return this.#identity.userId || null;
  }

  /** Connects, and stays connected until `close`. Calling it again does nothing. */
  connect(): void {
    const token = this.#tokens.current;
    const userId = this.#options.userId ?? (token === undefined ? undefined : readClaims(token).sub);
    if (userId !== undefined) this.#identify(userId);
    this.#stopWatching ??= watchWake((hiddenFor) => { this.#wake(hiddenFor); });
    this.#connection.connect(userId);
  }

  /** Disconnects and stops. What waits in the outbox stays for the next time. */
  close(): void {
    this.#stopWatching?.();
    this.#stopWatching = undefined;
    this.#connection.close();
    this.#config.stop();
    this.#sync.offline();
    this.#receipts.stop();
    this.#outbox.stop();
    this.#visits.close();
    this.#loading = undefined;
  }

  /** Tries to connect now instead of waiting: call it when an app comes to the foreground. */
  reconnect(): void {
    this.#wake(Infinity);
  }

  /** A fresh token (or token function) of the same user, for those who renew by themselves. */
  setToken(token: TokenOption): void {
    this.#tokens.replace(token);
    const { status, error } = this.#connection.state.getSnapshot();
    if (status === "online") void this.#connection.renew();
    else if (status === "closed" && error !== null) this.connect();
    else this.#connection.wake();
  }

  /** Logs out: closes, and deletes what this device has stored of the user, unsent messages too. */
  async forget(): Promise<void> {
    await this.#loading;
    this.close();
    await Promise.all([this.#outbox.clear(), this.#visits.clear()]);
    this.conversations.reset();
    this.#sync.forget();
  }

  /** One conversation by its id; it need not be in the list yet. */
  conversation(id: string): LiveConversation {
    return this.conversations.get(id);
  }

  /** Opens a conversation about a listing, with this user as the client, or finds the one there is. */
  async createConversation(listingId: string): Promise<LiveConversation> {
    const since = this.conversations.now;
    const answer = await this.#rest.createConversation(listingId);
    const conversation = this.conversation(answer.id);
    if (conversation.log.info === undefined) this.conversations.summarize(answer, since);
    return conversation;
  }

  /** Archives a conversation for this user, or brings it back; a new message does that too. */
  async archive(conversationId: string, archived = true): Promise<void> {
    await this.#rest.archive(conversationId, archived);
    this.#sync.request(); // should the event be lost
  }

  /** Presence of a user, as last received; undefined for a user not heard of. */
  presence(userId: string): PeerPresence | undefined {
    return this.conversations.presence.get(userId);
  }

  /**
   * Hears what the host application or an operator announces while this device is
   * connected, until the answered function is called. Nothing is kept or repeated.
   */
  onNotice(listener: (notice: NoticeEvent) => void): () => void {
    this.#noticeListeners.add(listener);
    return () => { this.#noticeListeners.delete(listener); };
  }

  #identify(userId: string): void {
    this.#identity.userId = userId;
    this.#loading ??= this.#load(`chatserver:${this.#options.url}:${userId}`);
  }

  async #load(scope: string): Promise<void> {
    const [visit] = await Promise.all([this.#visits.load(scope), this.#outbox.start(scope)]);
    if (!visit || this.#sync.cursor !== undefined) return;
    this.#sync.resume(visit.cursor);
    for (const conversation of visit.conversations) this.conversations.summarize(conversation, -1);
  }

  async #online(): Promise<void> {
    await this.#loading;
    if (!this.#connection.isOnline) return;
    this.#outbox.online();
    this.#sync.request();
    this.#config.online();
    this.#rooms.online();
    this.#receipts.online();
    this.conversations.online();
  }

  #offline(): void {
    this.#sync.offline();
    this.#outbox.offline();
    this.conversations.offline();
  }

  #event(event: ServerEvent): void {
    if (event.name === "error") this.#logger.warn("The server reports an error", event.payload);
    else if (event.name === "notice") for (const hear of [...this.#noticeListeners]) hear(event.payload);
    else this.conversations.receive(event);
  }

  /** A page that slept may hold a connection that is dead without knowing: a quick sync tells. */
  #wake(hiddenFor: number): void {
    this.#connection.wake();
    if (this.#connection.isOnline && hiddenFor >= LONG_HIDDEN) this.#sync.request(PROBE_TIMEOUT);
  }

  #synced(): void {
    this.#save();
    void this.#prefetch();
  }

  /**
   * Messages that came while this device was away are fetched, the latest conversations
   * first: only then may it say that it holds them, and their senders see two ticks.
   */
  async #prefetch(): Promise<void> {
    const waiting = this.conversations.undelivered().slice(0, PREFETCH);
    const next = async (): Promise<void> => {
      for (let item = waiting.shift(); item && this.#connection.isOnline; item = waiting.shift()) await item.loadOlder();
    };
    await Promise.all(Array.from({ length: PREFETCH_AT_ONCE }, next));
  }

  #reset(): void {
    this.#receipts.reset();
    this.conversations.reset();
  }

  #save(): void {
    this.#visits.save(() => {
      const { cursor } = this.#sync;
      return cursor === undefined ? undefined : { cursor, conversations: this.conversations.infos() };
    });
  }
}
