/** Property: whatever the network loses, doubles, delays and reorders, the screen is right in the end. */

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import type { ChatClient } from "../src/client.js";
import { expectEqualToServer, FakeServer, LANDLORD, makeClient, pass, TENANT } from "./kit.js";
import { pick, seeded } from "./random.js";

const IDS = ["a", "b", "c"];
const SEEDS = Number(process.env.CHAOS_SEEDS ?? 40);

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

/** Events come late, in another order, twice or never; answers come late. */
function spoil(server: FakeServer, random: () => number): void {
  server.network = (send, what) => {
    const delay = random() < 0.7 ? 0 : random() * 900;
    if (what !== "ack" && random() < 0.12) return;
    if (what !== "ack" && random() < 0.12) setTimeout(send, random() * 1_500);
    if (delay === 0) send();
    else setTimeout(send, delay);
  };
  server.fail = (event) => (event === "message" && random() < 0.1 ? pick(["lose", "lose_ack"] as const, random) : undefined);
}

function heal(server: FakeServer): void {
  server.network = (send) => { send(); };
  server.fail = () => undefined;
  server.cut();
}

interface World { server: FakeServer; clients: ChatClient[]; sent: string[] }

/** One thing that a person, a device or the network does. */
function step({ server, clients, sent }: World, random: () => number): void {
  const client = pick(clients, random);
  const id = pick(IDS, random);
  const { messages } = client.conversation(id).getSnapshot();
  const own = messages.filter((message) => message.isOwn && message.seq !== null && !message.is_deleted);
  const dice = random();
  if (dice < 0.45) {
    sent.push(`text ${sent.length}`);
    client.conversation(id).send(sent.at(-1) ?? "");
  } else if (dice < 0.6) client.conversation(id).markRead();
  else if (dice < 0.68 && own.length > 0) server.change(id, pick(own, random).seq ?? 0, `edited ${random()}`);
  else if (dice < 0.73 && own.length > 0) server.change(id, pick(own, random).seq ?? 0, null);
  else if (dice < 0.78) server.cut(client.userId ?? "");
  else if (dice < 0.81) void client.conversation(id).loadOlder();
  else if (dice < 0.84) server.archive(TENANT, id, random() < 0.5);
  else if (dice < 0.87) server.send(pick([TENANT, LANDLORD], random), { conversation_id: id, content: "by REST" });
}

describe("a client in a bad network", () => {
  it.each(Array.from({ length: SEEDS }, (_, seed) => seed))("ends equal to the server (seed %i)", async (seed) => {
    const random = seeded(seed);
    const server = new FakeServer();
    server.listsReceipts = seed % 2 === 0;
    for (const id of IDS) server.addConversation(id);
    for (let n = 0; n < 70; n += 1) server.send(n % 2 ? TENANT : LANDLORD, { conversation_id: "a", content: `old ${n}` });
    const clients = [makeClient(server, TENANT), makeClient(server, LANDLORD), makeClient(server, LANDLORD)];
    const world = { server, clients, sent: [] as string[] };
    spoil(server, random);
    vi.spyOn(Math, "random").mockImplementation(random);
    for (const client of clients) {
      client.connect();
      client.conversation("a").open();
      if (random() < 0.5) client.conversation("b").open();
    }
    for (let n = 0; n < 120; n += 1) {
      step(world, random);
      await pass(random() * 400);
    }
    heal(server);
    await pass(60_000);
    for (const client of clients) for (const id of IDS) client.conversation(id).open();
    await pass(60_000);

    for (const client of clients) {
      for (const id of IDS) expectEqualToServer(client, server, id);
      expect(client.conversations.getSnapshot().unreadCount)
        .toBe(IDS.reduce((sum, id) => sum + server.view(id, client.userId ?? "").unread_count, 0));
    }
    const stored = IDS.flatMap((id) => server.stored.get(id)?.messages ?? []);
    const ids = stored.map(({ client_msg_id }) => client_msg_id).filter((id) => id !== null);
    expect(new Set(ids).size).toBe(ids.length);
    expect(ids).toHaveLength(world.sent.length);
    for (const client of clients) client.close();
  });
});
