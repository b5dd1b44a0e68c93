/** Starts the page: one client for the person whom the link names. */

import { ChatClient } from "chatserver-client";
import { ChatProvider } from "chatserver-client/react";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

import { ChatScreen } from "./chat_screen";
import { PreferencesProvider } from "./preferences";
import { readSession, watchForNewLink } from "./session";
import "./styles/index.css";
import { WelcomeScreen } from "./welcome_screen";

const session = readSession();
const client = session && new ChatClient({ url: location.origin, token: session.token });
watchForNewLink();
// Only where the page is built, and only on https or this machine.
if (import.meta.env.PROD && session && "serviceWorker" in navigator) {
  navigator.serviceWorker.register("/sw.js").catch(() => undefined); // then it needs the network to load
}

const root = document.getElementById("root");
if (!root) throw new Error("The page has no #root.");
createRoot(root).render(
  <StrictMode>
    <PreferencesProvider>
      {session && client ? <ChatProvider client={client}><ChatScreen session={session} /></ChatProvider> : <WelcomeScreen />}
    </PreferencesProvider>
  </StrictMode>,
);
