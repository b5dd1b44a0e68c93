/** The connection comes back after every loss, with a token that is good. */

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import type { TokenOption } from "../src/token.js";
import { readClaims, TokenSource } from "../src/token.js";
import { refusal, tokenFor } from "./fake_server.js";
import { FakeServer, LANDLORD, makeClient, pass, TENANT } from "./kit.js";

let server: FakeServer;

beforeEach(() => {
  vi.useFakeTimers({ now: new Date("2026-01-01T00:00:00Z") });
  server = new FakeServer();
});
afterEach(() => vi.useRealTimers());

const soon = (seconds: number): number => Math.floor(Date.now() / 1000) + seconds;
const start = (token: TokenOption) => {
  const client = makeClient(server, TENANT, { token });
  client.connect();
  return client;
};

describe("the connection", () => {
  it("tells its state: connecting, online, offline with the time of the next try, closed", async () => {
    const client = makeClient(server);
    const seen: string[] = [];
    client.connection.subscribe(() => seen.push(client.connection.getSnapshot().status));
    expect(client.connection.getSnapshot()).toMatchObject({ status: "closed", reason: null });
    client.connect();
    await pass();
    server.isDown = true;
    server.cut();
    const state = client.connection.getSnapshot();
    expect(state).toMatchObject({ status: "offline", reason: "transport close" });
    expect(state.retryAt).toBeGreaterThanOrEqual(Date.now());
    client.close();
    expect(seen).toEqual(["connecting", "online", "offline", "closed"]);
  });

  it("comes back within 5 s of the server's return, however long it was away", async () => {
    const client = start(tokenFor(TENANT));
    await pass();
    server.isDown = true;
    server.cut();
    await pass(3_600_000);
    expect(client.connection.getSnapshot().status).not.toBe("online");
    server.isDown = false;
    await pass(5_000);
    expect(client.connection.getSnapshot().status).toBe("online");
  });

  it("comes back after the server has sent it away", async () => {
    const client = start(tokenFor(TENANT));
    await pass();
    for (const socket of [...server.sockets]) socket.cut("io server disconnect");
    await pass(5_000);
    expect(client.connection.getSnapshot().status).toBe("online");
  });

  it("spreads the first tries over a second, so that a thousand clients do not come at once", async () => {
    const clients = Array.from({ length: 100 }, () => start(tokenFor(TENANT)));
    await pass();
    server.isDown = true;
    server.cut();
    const waits = clients.map((client) => (client.connection.getSnapshot().retryAt ?? 0) - Date.now());
    expect(Math.max(...waits)).toBeLessThanOrEqual(1_000);
    expect(new Set(waits.map((wait) => Math.floor(wait / 100))).size).toBeGreaterThan(6);
    for (const client of clients) client.close();
  });

  it("comes back within half a second, at random, from a node that restarts, however often that happens", async () => {
    const clients = Array.from({ length: 100 }, () => start(tokenFor(TENANT)));
    await pass();
    for (let restarts = 0; restarts < 5; restarts += 1) {
      for (const socket of [...server.sockets]) socket.cut("transport close", true);
      const waits = clients.map((client) => (client.connection.getSnapshot().retryAt ?? Infinity) - Date.now());
      expect(Math.max(...waits)).toBeLessThanOrEqual(500);
      expect(new Set(waits.map((wait) => Math.floor(wait / 50))).size).toBeGreaterThan(6);
      await pass(501);
      expect(clients.every((client) => client.connection.getSnapshot().status === "online")).toBe(true);
    }
    for (const client of clients) client.close();
  });

  it("waits as long as a refused handshake says", async () => {
    server.refuse = () => refusal("rate_limited", true, 30).toJSON();
    const client = start(tokenFor(TENANT));
    await pass(1);
    expect(client.connection.getSnapshot()).toMatchObject({ status: "offline", reason: "rate_limited" });
    server.refuse = () => undefined;
    await pass(29_000);
    expect(client.connection.getSnapshot().status).toBe("offline");
    await pass(6_000);
    expect(client.connection.getSnapshot().status).toBe("online");
  });

  it("gives an attempt up that nobody answers", async () => {
    const open = vi.fn();
    const client = makeClient(server, TENANT, {
      transport: () => ({ open, close: vi.fn(), send: vi.fn(), request: () => new Promise(() => undefined) }),
    });
    client.connect();
    await pass(15_000);
    expect(client.connection.getSnapshot()).toMatchObject({ status: "offline", reason: "timeout" });
    await pass(5_000);
    expect(open).toHaveBeenCalledTimes(2);
  });

  it("tries at once when it is told that the network is back", async () => {
    const client = start(tokenFor(TENANT));
    await pass();
    server.cut();
    client.reconnect();
    await pass(0);
    expect(client.connection.getSnapshot().status).toBe("online");
  });

  it("notices a dead connection when the app returns from the background", async () => {
    const client = start(tokenFor(TENANT));
    await pass();
    server.fail = () => "lose";
    const reasons: (string | null)[] = [];
    client.connection.subscribe(() => reasons.push(client.connection.getSnapshot().reason));
    client.reconnect();
    await pass(5_001);
    expect(reasons).toContain("timeout");
    server.fail = () => undefined;
    await pass(5_000);
    expect(client.connection.getSnapshot().status).toBe("online");
  });

  it("stays closed until it is connected again", async () => {
    const client = start(tokenFor(TENANT));
    await pass();
    client.close();
    await pass(60_000);
    expect(server.sockets.size).toBe(0);
    client.connect();
    client.connect();
    await pass();
    expect(server.sockets.size).toBe(1);
  });
});

describe("tokens", () => {
  it("asks the provider again a minute before the end and sends the new one", async () => {
    const provider = vi.fn(() => tokenFor(TENANT, soon(600)));
    const client = start(provider);
    await pass();
    expect(provider).toHaveBeenCalledTimes(1);
    await pass(538_000);
    expect(provider).toHaveBeenCalledTimes(1);
    await pass(2_000);
    expect(provider).toHaveBeenLastCalledWith({ isRenewal: true });
    expect(server.log.filter(({ event }) => event === "authenticate")).toHaveLength(1);
    expect(client.connection.getSnapshot().status).toBe("online");
    await pass(540_000);
    expect(server.log.filter(({ event }) => event === "authenticate")).toHaveLength(2);
  });

  it("tries a renewal that failed again before the end", async () => {
    let calls = 0;
    start(() => {
      calls += 1;
      if (calls === 2 || calls === 3) throw new Error("the back end is down");
      return tokenFor(TENANT, soon(600));
    });
    await pass(541_000);
    expect(calls).toBe(2);
    await pass(35_000);
    expect(calls).toBe(4);
    expect(server.log.filter(({ event }) => event === "authenticate")).toHaveLength(1);
  });

  it("does not believe a clock that says that a good token has expired", async () => {
    const provider = vi.fn(() => tokenFor(TENANT, soon(-7_200)));
    start(provider);
    await pass(60_000);
    expect(provider).toHaveBeenCalledTimes(1);
  });

  it("comes back with a fresh token when the old one ran out", async () => {
    const provider = vi.fn(() => tokenFor(TENANT));
    const client = start(provider);
    await pass();
    server.tell(TENANT, { name: "error", payload: refusal("token_expired").toJSON() });
    for (const socket of [...server.sockets]) socket.cut("io server disconnect");
    expect(client.connection.getSnapshot()).toMatchObject({ status: "offline", reason: "token_expired" });
    await pass(2_000);
    expect(provider).toHaveBeenLastCalledWith({ isRenewal: true });
    expect(client.connection.getSnapshot().status).toBe("online");
  });

  it("closes when a fixed token ran out, and goes on with the next one", async () => {
    const client = start(tokenFor(TENANT));
    await pass();
    server.tell(TENANT, { name: "error", payload: refusal("token_expired").toJSON() });
    server.cut();
    expect(client.connection.getSnapshot()).toMatchObject({ status: "closed", reason: "token_expired" });
    client.setToken(tokenFor(TENANT, soon(60)));
    await pass();
    expect(client.connection.getSnapshot().status).toBe("online");
  });

  it("closes when a fixed token is refused", async () => {
    server.refuse = () => refusal("unauthorized").toJSON();
    const client = start(tokenFor(TENANT));
    await pass();
    expect(client.connection.getSnapshot()).toMatchObject({ status: "closed", reason: "unauthorized", error: { code: "unauthorized" } });
  });

  it("asks for a new token after a refusal, and gives up after five", async () => {
    server.refuse = () => refusal("unauthorized").toJSON();
    const provider = vi.fn(() => tokenFor(TENANT));
    const client = start(provider);
    await pass(120_000);
    expect(provider).toHaveBeenCalledTimes(5);
    expect(provider).toHaveBeenLastCalledWith({ isRenewal: true });
    expect(client.connection.getSnapshot().status).toBe("closed");
  });

  it("retries a provider that fails or never answers", async () => {
    let calls = 0;
    const client = start(() => {
      calls += 1;
      if (calls === 1) return Promise.reject(new Error("down"));
      return calls === 2 ? new Promise<string>(() => undefined) : tokenFor(TENANT);
    });
    await pass(1);
    expect(client.connection.getSnapshot()).toMatchObject({ status: "offline", reason: "token_provider" });
    await pass(30_000);
    expect(calls).toBe(3);
    expect(client.connection.getSnapshot().status).toBe("online");
  });

  it("never mixes two users in one client", async () => {
    let userId = TENANT;
    const client = start(() => tokenFor(userId, soon(10)));
    await pass();
    userId = LANDLORD;
    server.cut();
    await pass(20_000);
    expect(client.connection.getSnapshot()).toMatchObject({ status: "closed", reason: "unauthorized" });
    expect(server.sockets.size).toBe(0);
  });

  it("refuses a token that names nobody", async () => {
    const client = start("no jwt at all");
    await pass();
    expect(client.connection.getSnapshot()).toMatchObject({ status: "closed", reason: "unauthorized" });
    expect(readClaims("a.bm9qc29u.c")).toEqual({});
    expect(readClaims("")).toEqual({});
  });

  it("reads claims with any characters and asks for one token at a time", async () => {
    const body = Buffer.from(JSON.stringify({ sub: "s", exp: 1, name: "Núñez ??>" })).toString("base64");
    expect(readClaims(`e.${body.replaceAll("+", "-").replaceAll("/", "_")}.x`)).toEqual({ sub: "s", exp: 1 });
    const provider = vi.fn(() => Promise.resolve(tokenFor(TENANT)));
    const source = new TokenSource(provider);
    await Promise.all([source.get(), source.get(true), source.get()]);
    await source.get();
    expect(provider).toHaveBeenCalledTimes(1);
    await source.get(true);
    expect(provider).toHaveBeenCalledTimes(2);
  });
});
