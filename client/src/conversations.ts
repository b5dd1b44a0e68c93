/** All conversations of the user: the list with its counters, and the way from an event to its conversation. */

import { LiveConversation, type ConversationContext } from "./conversation.js";
import { isParticipant } from "./cursors.js";
import type { Tick } from "./log.js";
import { Derived, type Store } from "./observable.js";
import { PresenceMap } from "./presence.js";
import type { Conversation, ConversationSync, Message, Position, User } from "./protocol.js";
import type { ServerEvent } from "./transport.js";

/** A conversation as a list shows it; `unread_count` and `peer_presence` are up to date. */
export interface ConversationItem extends Conversation {
  /** The other participant; for a user who is neither, the one who is `client`. */
  peer: User;
  /** True if this user is one of the two, and not a third voice (`service`, `admin`). */
  isParticipant: boolean;
  /** Archived by this user. */
  isArchived: boolean;
  /** A participant types who is not this user. */
  isPeerTyping: boolean;
  /** Own messages that are not sent yet, or failed. */
  waitingCount: number;
}

/** All conversations, archived ones too, latest activity first; a new object after each change. */
export interface ConversationsSnapshot {
  conversations: readonly ConversationItem[];
  /** Unread messages in all conversations. */
  unreadCount: number;
  /** True if the list is complete; before the first sync it is what the last visit left. */
  isComplete: boolean;
}

const MAX_WINDOWS = 50;
const DOUBT = 1_000;

/** Get it from `client.conversations`. */
export class Conversations implements Store<ConversationsSnapshot> {
  /** @internal */
  readonly presence = new PresenceMap();
  readonly #context: ConversationContext;
  readonly #all = new Map<string, LiveConversation>();
  readonly #items = new WeakMap<Conversation, ConversationItem>();
  readonly #snapshot = new Derived(() => this.#compute());
  readonly #watched = new Map<string, () => void>();
  #watchers: number[] = [];
  #tick = 0;
  #isComplete = false;

  /** @internal */
  constructor(context: Omit<ConversationContext, "onChange">) {
    this.#context = { ...context, onChange: () => { this.#snapshot.invalidate(); } };
    this.presence.subscribe(() => { this.#snapshot.invalidate(); });
    this.#snapshot.subscribe(() => { this.#enterWatched(); });
  }

  readonly subscribe = this.#snapshot.subscribe;
  readonly getSnapshot = this.#snapshot.getSnapshot;

  /** One conversation; it need not be known yet. */
  get(id: string): LiveConversation {
    let conversation = this.#all.get(id);
    if (!conversation) this.#all.set(id, (conversation = new LiveConversation(id, this.#context)));
    return conversation;
  }

  /**
   * Hears presence and typing of the `count` conversations with the latest activity,
   * until the answered function is called. A list on a screen wants that.
   */
  watch(count: number): () => void {
    this.#watchers.push(count);
    this.#enterWatched();
    return () => {
      const index = this.#watchers.indexOf(count);
      if (index >= 0) this.#watchers.splice(index, 1);
      this.#enterWatched();
    };
  }

  /** @internal The moment of a request: what happens later is newer than its answer. */
  get now(): Tick {
    return this.#tick;
  }

  /** @internal An event that speaks of a conversation or a user. */
  receive(event: ServerEvent): void {
    this.#tick += 1;
    switch (event.name) {
      case "message":
      case "message_updated":
      case "message_deleted":
      case "delivery_receipt":
      case "read_receipt":
        this.get(event.payload.conversation_id).receive(event);
        break;
      case "conversation":
        this.get(event.payload.id).log.flags(event.payload, this.#tick);
        this.#learn(event.payload, this.#tick);
        break;
      case "typing":
        this.get(event.payload.conversation_id).typing(event.payload);
        break;
      case "presence":
        this.presence.event(event.payload, this.#tick);
        break;
      case "unread":
        this.#unread(this.get(event.payload.conversation_id), event.payload.unread_count);
        break;
      case "head":
        this.get(event.payload.conversation_id).log.hint(event.payload.rev);
        break;
      case "notice":
      case "error":
        break;
    }
  }

  /** @internal A conversation in an answer to a request that was sent at `since`. */
  summarize(answer: ConversationSync, since: Tick): void {
    this.get(answer.id).summarize(answer, since);
    this.#learn(answer, since);
  }

  /** @internal The answer to a `join` that was sent at `since`. */
  joined(conversation: Conversation, since: Tick): void {
    this.get(conversation.id).joined(conversation, since);
    this.#learn(conversation, since);
  }

  /** @internal A message of this user was acknowledged. */
  sent(message: Message): void {
    this.get(message.conversation_id).sent(message);
  }

  /**
   * @internal What to ask `sync` to bring up to date: what is open and what was used
   * last. The windows of the others are given up.
   */
  positions(): Record<string, Position> {
    const held = [...this.#all.values()].filter(({ log }) => log.position !== undefined);
    held.sort((a, b) => Number(b.isOpen) - Number(a.isOpen) || byActivity(a.log.info, b.log.info));
    for (const { log } of held.slice(MAX_WINDOWS)) log.forgetMessages();
    const positions: Record<string, Position> = {};
    for (const { id, log } of held.slice(0, MAX_WINDOWS)) if (log.position) positions[id] = log.position;
    return positions;
  }

  /** @internal Those with a message that no device of the user has confirmed, latest first. */
  undelivered(): LiveConversation[] {
    return this.#known()
      .filter(({ log }) => log.position === undefined && this.#isUndelivered(log.info?.last_message ?? null))
      .sort((a, b) => byActivity(a.log.info, b.log.info));
  }

  /** @internal Every conversation as the server told it, to be kept for the next visit. */
  infos(): Conversation[] {
    return this.#known().map(({ log }) => log.info).filter((info) => info !== undefined);
  }

  /** @internal The first sync is done. */
  complete(): void {
    this.#isComplete = true;
    this.#snapshot.invalidate();
  }

  /** @internal */
  online(): void {
    for (const conversation of this.#all.values()) conversation.online();
  }

  /** @internal */
  offline(): void {
    for (const conversation of this.#all.values()) conversation.offline();
  }

  /** @internal Everything came from another database. */
  reset(): void {
    this.#isComplete = false;
    this.presence.clear();
    for (const conversation of this.#all.values()) conversation.reset();
  }

  #known(): LiveConversation[] {
    return [...this.#all.values()].filter(({ log }) => log.info !== undefined);
  }

  #isUndelivered(message: Message | null): boolean {
    return message?.status === "sent" && message.sender_id !== this.#context.identity.userId;
  }

  #learn(conversation: Conversation, since: Tick): void {
    if (!isParticipant(conversation, this.#context.identity.userId)) return; // then it is nobody's
    this.presence.snapshot(this.#peer(conversation).id, conversation.peer_presence, since);
  }

  #peer(conversation: Conversation): User {
    return conversation.client_user_id === this.#context.identity.userId ? conversation.owner : conversation.client;
  }

  /** `unread` events may overtake each other: one that cannot be right is checked a moment later. */
  #unread(conversation: LiveConversation, count: number): void {
    conversation.log.unread(count, this.#tick);
    if (!conversation.log.isDoubtful) return;
    setTimeout(() => { if (conversation.log.isDoubtful) this.#context.requestSync(); }, DOUBT);
  }

  /** Keeps the socket in the rooms of the top of the list. */
  #enterWatched(): void {
    const count = Math.max(0, ...this.#watchers);
    if (count === 0 && this.#watched.size === 0) return;
    const top = this.#known().sort((a, b) => byActivity(a.log.info, b.log.info)).slice(0, count);
    const wanted = new Set(top.map(({ id }) => id));
    for (const [id, leave] of [...this.#watched]) {
      if (!wanted.has(id) && this.#watched.delete(id)) leave();
    }
    for (const id of wanted) if (!this.#watched.has(id)) this.#watched.set(id, this.#context.rooms.enter(id));
  }

  #compute(): ConversationsSnapshot {
    const conversations = [...this.#all.values()]
      .flatMap((conversation) => (conversation.log.info ? [this.#item(conversation, conversation.log.info)] : []))
      .sort(byActivity);
    const unreadCount = conversations.reduce((sum, { unread_count }) => sum + unread_count, 0);
    return { conversations, unreadCount, isComplete: this.#isComplete };
  }

  /** The same object as long as nothing in it has changed. */
  #item(conversation: LiveConversation, info: Conversation): ConversationItem {
    const peer = this.#peer(info);
    const isClient = info.client_user_id === this.#context.identity.userId;
    const next: ConversationItem = {
      ...info,
      unread_count: conversation.unreadCount,
      peer_presence: this.presence.get(peer.id) ?? info.peer_presence,
      peer,
      isArchived: isClient ? info.archived_by_client : info.archived_by_owner,
      isParticipant: isParticipant(info, this.#context.identity.userId),
      isPeerTyping: conversation.typingUserIds.some((id) => isParticipant(info, id)),
      waitingCount: this.#context.outbox.list(info.id).length,
    };
    const last = this.#items.get(info);
    if (last && isSame(last, next)) return last;
    this.#items.set(info, next);
    return next;
  }
}

function isSame(a: ConversationItem, b: ConversationItem): boolean {
  return (Object.keys(b) as (keyof ConversationItem)[]).every((name) => Object.is(a[name], b[name]));
}

/** Latest activity first; what has no message yet counts from its creation. */
function byActivity(a: Conversation | undefined, b: Conversation | undefined): number {
  const [first, second] = [activity(a), activity(b)];
  return first === second ? 0 : first < second ? 1 : -1;
}

function activity(conversation: Conversation | undefined): string {
  return conversation?.last_message_at ?? conversation?.created_at ?? "";
}
