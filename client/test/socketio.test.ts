/** The thin transport against a real Socket.IO server on the loopback. */

import { createServer, type Server as HttpServer } from "node:http";
import type { AddressInfo } from "node:net";

import { Server } from "socket.io";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import type { ChatError } from "../src/protocol.js";
import { socketIoTransport } from "../src/socketio.js";
import type { ServerEvent, Transport } from "../src/transport.js";

const REFUSAL: ChatError = { code: "unauthorized", detail: "no", retryable: false };

let http: HttpServer;
let server: Server;
let url: string;
let transport: Transport;
let heard: string[];
let events: ServerEvent[];

beforeEach(async () => {
  http = createServer();
  server = new Server(http);
  server.use((socket, next) => {
    const { token } = socket.handshake.auth as { token: string };
    next(token === "good" ? undefined : Object.assign(new Error("refused"), { data: REFUSAL }));
  });
  await new Promise<void>((resolve) => { http.listen(0, "127.0.0.1", resolve); });
  url = `http://127.0.0.1:${(http.address() as AddressInfo).port}`;
  heard = [];
  events = [];
});

afterEach(async () => {
  transport.close();
  await server.close();
});

function makeTransport(transports?: ("websocket" | "polling")[]): void {
  transport = socketIoTransport({ url, transports })({
    connected: () => heard.push("connected"),
    failed: ({ code }) => heard.push(`failed: ${code}`),
    disconnected: (reason, isRestart) => heard.push(`disconnected: ${reason}${isRestart === true ? ", restart" : ""}`),
    event: (event) => events.push(event),
  });
}

const waitFor = (count: number): Promise<void> => vi.waitFor(() => { expect(heard).toHaveLength(count); }, 60_000);

describe.each([["websocket"], ["polling"]] as const)("over %s", (kind) => {
  beforeEach(() => { makeTransport([kind]); });

  it("connects, hears events, gets answers and the server's errors", async () => {
    server.on("connection", (socket) => {
      socket.on("delivered", (payload: { seq: number }, ack: (answer: object) => void) => {
        ack(payload.seq === 1 ? { ok: true } : { ok: false, error: { code: "not_found", detail: "d", retryable: false } });
      });
      socket.emit("head", { conversation_id: "a", last_seq: 1, rev: 2 });
    });
    transport.open("good");
    await waitFor(1);
    await expect(transport.request("delivered", { conversation_id: "a", seq: 1 }, 60_000)).resolves.toMatchObject({ ok: true });
    await expect(transport.request("delivered", { conversation_id: "a", seq: 2 }, 60_000))
      .rejects.toMatchObject({ code: "not_found", message: "d" });
    expect(events).toEqual([{ name: "head", payload: { conversation_id: "a", last_seq: 1, rev: 2 } }]);
    expect(heard).toEqual(["connected"]);
  });

  it("tells a refused token with the server's error, and connects with the next one", async () => {
    transport.open("bad");
    await waitFor(1);
    transport.open("good");
    await waitFor(2);
    expect(heard).toEqual(["failed: unauthorized", "connected"]);
  });
});

describe("a websocket that the server closes", () => {
  it.each([[1012, ", restart"], [1001, ""]])("with code %d", async (code, told) => {
    makeTransport(["websocket"]);
    server.on("connection", (socket) => {
      const { transport: below } = socket.conn as unknown as { transport: { socket: { close(code: number): void } } };
      below.socket.close(code);
    });
    transport.open("good");
    await waitFor(2);
    expect(heard).toEqual(["connected", `disconnected: transport close${told}`]);
  });
});

describe("by default", () => {
  beforeEach(() => { makeTransport(); });

  it("tells when the server ends the connection, and can connect again", async () => {
    transport.open("good");
    await waitFor(1);
    server.disconnectSockets();
    await waitFor(2);
    transport.open("good");
    await waitFor(3);
    server.disconnectSockets(true);
    await waitFor(4);
    expect(heard).toEqual(["connected", "disconnected: io server disconnect", "connected", "disconnected: io server disconnect"]);
  });

  it("rejects what was not answered in time, and what the lost connection took along", async () => {
    transport.open("good");
    await waitFor(1);
    await expect(transport.request("join", { conversation_id: "a" }, 50)).rejects.toMatchObject({ code: "timeout" });
    const pending = transport.request("join", { conversation_id: "a" }, 60_000).catch((error: unknown) => error);
    server.disconnectSockets(true);
    expect(await pending).toMatchObject({ code: "disconnected" });
    await expect(transport.request("join", { conversation_id: "a" }, 50)).rejects.toMatchObject({ code: "offline" });
    transport.send("typing", { conversation_id: "a", is_typing: true });
  });

  it("says nothing more once it is closed", async () => {
    transport.open("good");
    await waitFor(1);
    transport.close();
    transport.open("good");
    transport.close();
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(heard).toEqual(["connected"]);
  });

  it("falls back to polling where websockets do not get through", async () => {
    transport.close();
    await server.close();
    http = createServer();
    server = new Server(http, { transports: ["polling"] });
    await new Promise<void>((resolve) => { http.listen(0, "127.0.0.1", resolve); });
    url = `http://127.0.0.1:${(http.address() as AddressInfo).port}`;
    makeTransport();
    transport.open("good");
    await waitFor(1);
    expect(heard).toEqual(["connected"]);
  });

  it("tells a server that is not there as unavailable", async () => {
    await server.close();
    transport.open("good");
    await waitFor(1);
    expect(heard).toEqual(["failed: unavailable"]);
  });
});

describe("a limit in front of the handshake", () => {
  const PROBLEM = { code: "rate_limited", detail: "slow down", retryable: true, retry_after: 12.5 };

  it.each([
    ["tells how long to wait in its body", JSON.stringify(PROBLEM), {}, 12.5],
    ["or in a header", "<html>", { "Retry-After": "30" }, 30],
    ["or not at all", "", {}, undefined],
  ])("%s", async (_, body, headers, retry_after) => {
    server.engine.close();
    http.removeAllListeners("request");
    http.removeAllListeners("upgrade");
    http.on("request", (_request, response) => { response.writeHead(429, headers).end(body); });
    http.on("upgrade", (_request, socket) => { socket.end("HTTP/1.1 429 Too Many Requests\r\n\r\n"); });
    let failure: ChatError | undefined;
    transport = socketIoTransport({ url })({
      connected: () => undefined, disconnected: () => undefined, event: () => undefined, failed: (error) => { failure = error; },
    });
    transport.open("good");
    await vi.waitFor(() => { expect(failure).toBeDefined(); }, 60_000);
    expect(failure).toMatchObject({ code: "rate_limited", retryable: true });
    expect(failure?.retry_after).toBe(retry_after);
  });
});
