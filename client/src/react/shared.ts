/** Clients for `useChat(id, token)` without a provider: one for each server and user, however many hooks. */

import { ChatClient } from "../client.js";
import { readClaims } from "../token.js";

interface Shared {
  client: ChatClient;
  token: string;
  users: number;
  closing: ReturnType<typeof setTimeout> | undefined;
}

const LINGER = 2_000;
const clients = new Map<string, Shared>();

/** The client of a token's user; it is made, but not connected. */
export function sharedClient(url: string, token: string): ChatClient {
  return shared(url, token).client;
}

/** Connects the client until the answered function is called by the last one who uses it. */
export function acquireSharedClient(url: string, token: string): () => void {
  const entry = shared(url, token);
  if (entry.token !== token) {
    entry.token = token;
    entry.client.setToken(token);
  }
  entry.users += 1;
  clearTimeout(entry.closing);
  entry.client.connect();
  return () => {
    entry.users -= 1;
    // A moment's grace: the next page may use it again.
    if (entry.users === 0) entry.closing = setTimeout(() => { entry.client.close(); }, LINGER);
  };
}

function shared(url: string, token: string): Shared {
  const key = `${url} ${readClaims(token).sub ?? token}`;
  let entry = clients.get(key);
  if (!entry) {
    entry = { client: new ChatClient({ url, token }), token, users: 0, closing: undefined };
    clients.set(key, entry);
  }
  return entry;
}
