/** A page around the hook: what it holds is text on the page, what it does is on `window`. */
import { createRoot } from "react-dom/client";

import { useChat } from "./useChat";

const query = new URLSearchParams(location.search);

function Page() {
  const chat = useChat(query.get("conversation")!, query.get("token")!);
  Object.assign(window, { chat });
  return (
    <main>
      <p data-testid="connected">{String(chat.isConnected)}</p>
      <p data-testid="messages">{JSON.stringify(chat.messages.map(({ content }) => content))}</p>
      {Object.entries(chat.others).map(([name, text]) => <p key={name} data-testid={name}>{text}</p>)}
    </main>
  );
}

createRoot(document.body).render(<Page />);
