/** The package's public face; `chatserver-client/react` has the hooks. */

export { ChatClient, type ChatClientOptions } from "./client.js";
export type { ConnectionState, ConnectionStatus } from "./connection.js";
export type { LiveConversation } from "./conversation.js";
export type { ConversationItem, Conversations, ConversationsSnapshot } from "./conversations.js";
export { ChatRequestError } from "./errors.js";
export type { Logger } from "./logger.js";
export type { Store } from "./observable.js";
export type { Draft } from "./outbox.js";
export type * from "./protocol.js";
export type { Fetch } from "./rest.js";
export type { ConversationSnapshot, OpenAt } from "./snapshot.js";
export {
  asyncStorageOutbox, indexedDbOutbox, memoryOutbox, type AsyncStorageLike, type OutboxStorage,
} from "./storage/index.js";
export type { TokenOption, TokenRequest } from "./token.js";
export type { ServerEvent, Transport, TransportFactory, TransportListener } from "./transport.js";
export type { ChatMessage, MessageState } from "./view.js";
