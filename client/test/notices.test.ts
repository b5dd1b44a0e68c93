/** What the host announces reaches those who listen, while they do. */

import { afterEach, beforeEach, expect, it, vi } from "vitest";

import { FakeServer, makeClient, pass, TENANT } from "./kit.js";

beforeEach(() => { vi.useFakeTimers(); });
afterEach(() => vi.useRealTimers());

it("calls every listener with each notice, until it stops listening", async () => {
  const server = new FakeServer();
  const client = makeClient(server, TENANT);
  const one = vi.fn();
  const two = vi.fn();
  const stop = client.onNotice(one);
  client.onNotice(two);
  client.connect();
  await pass();

  const notice = { content: "Down at 14:00", data: { kind: "maintenance" }, timestamp: "2026-01-31T12:00:00.000000Z" };
  server.tell(TENANT, { name: "notice", payload: notice });
  await pass();
  stop();
  server.tell(TENANT, { name: "notice", payload: { ...notice, content: "Back" } });
  await pass();

  expect(one.mock.calls).toEqual([[notice]]);
  expect(two.mock.calls.map(([{ content }]) => content as string)).toEqual(["Down at 14:00", "Back"]);
  client.close();
});
