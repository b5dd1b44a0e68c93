/** The React hooks: `import { useChat } from "chatserver-client/react"`. */

export { ChatProvider, useChatClient, type ChatProviderProps } from "./provider.js";
export { useChat, type Chat, type UseChatOptions } from "./use_chat.js";
export { useConnection, useConversations, useServerConfig, useUnreadCount, type UseConversationsOptions } from "./use_lists.js";
