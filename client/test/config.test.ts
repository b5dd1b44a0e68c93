/** The server's limits: its own word, and something sane where it has none. */

import { afterEach, beforeEach, expect, it, vi } from "vitest";

import { FakeServer, makeClient, pass, TENANT } from "./kit.js";

let server: FakeServer;
const DEFAULTS = { max_length: 5_000, edit_window: 900, max_packet_bytes: 131_072 };
const OWN = { max_length: 200, edit_window: 60, max_packet_bytes: 65_536 };

beforeEach(() => {
  vi.useFakeTimers();
  server = new FakeServer();
});
afterEach(() => vi.useRealTimers());

it("is the default until the server has told its own", async () => {
  server.config = OWN;
  const client = makeClient(server);
  expect(client.config.getSnapshot()).toEqual(DEFAULTS);
  client.connect();
  await pass();
  expect(client.config.getSnapshot()).toEqual(OWN);
  client.close();
});

it("is asked for again after a failure, and not before a rate limit ends", async () => {
  server.config = OWN;
  let asked = 0;
  server.refuseRest = () => {
    asked += 1;
    return asked < 3 ? new Response("", { status: 429, headers: { "Retry-After": "60" } }) : undefined;
  };
  const client = makeClient(server);
  client.connect();
  await pass(59_000);
  server.cut();
  await pass(500);
  expect(asked).toBe(1);
  expect(client.config.getSnapshot()).toEqual(DEFAULTS);
  await pass(70_000);
  expect(client.config.getSnapshot()).toEqual(OWN);
  expect(asked).toBe(3);
  client.close();
});

it("is the default on an older server, which is asked once", async () => {
  const fetch = vi.fn(server.fetch);
  const client = makeClient(server, TENANT, { fetch });
  client.connect();
  await pass(120_000);
  expect(client.config.getSnapshot()).toEqual(DEFAULTS);
  expect(fetch).toHaveBeenCalledTimes(1);
  client.close();
});

it("takes only what can be a limit", async () => {
  server.config = { ...OWN, max_length: 0, edit_window: "soon" as unknown as number };
  const client = makeClient(server);
  client.connect();
  await pass();
  expect(client.config.getSnapshot()).toEqual({ ...DEFAULTS, max_packet_bytes: OWN.max_packet_bytes });
  client.close();
});
