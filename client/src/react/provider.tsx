/** Hands one `ChatClient` to all hooks below it. */

import { createContext, useContext, useEffect, type ReactElement, type ReactNode } from "react";

import type { ChatClient } from "../client.js";

const ClientContext = createContext<ChatClient | null>(null);

export interface ChatProviderProps {
  /** Made once, outside of the component; it is connected here, and closed by whoever made it. */
  client: ChatClient;
  children?: ReactNode;
}

/** Connects `client` and gives it to `useChat`, `useConversations` and the others. */
export function ChatProvider({ client, children }: ChatProviderProps): ReactElement {
  useEffect(() => { client.connect(); }, [client]);
  return <ClientContext.Provider value={client}>{children}</ClientContext.Provider>;
}

/** The provider's client, or null outside of one. */
export function useMaybeChatClient(): ChatClient | null {
  return useContext(ClientContext);
}

/** The provider's client; throws outside of one. */
export function useChatClient(): ChatClient {
  const client = useContext(ClientContext);
  if (!client) throw new Error("There is no <ChatProvider> around this component.");
  return client;
}
