/** REST calls: their addresses, their errors, their tokens. */

import { describe, expect, it, vi } from "vitest";

import { Backoff } from "../src/backoff.js";
import { Derived } from "../src/observable.js";
import { Rest, type Fetch } from "../src/rest.js";
import { TokenSource, type TokenOption } from "../src/token.js";
import { uuid } from "../src/uuid.js";
import { tokenFor } from "./fake_server.js";

function makeRest(answers: (Response | Error)[], token: TokenOption = "t1") {
  const fetch = vi.fn<Fetch>(() => {
    const answer = answers.shift() ?? new Error("no more answers");
    return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
  });
  return { fetch, rest: new Rest("http://x/", fetch, new TokenSource(token)) };
}

const problem = (status: number, body: object): Response => Response.json(body, { status });

describe("REST", () => {
  it("asks for pages with the token", async () => {
    const { rest, fetch } = makeRest([Response.json([])]);
    await rest.messages("a b", { limit: 50, before_seq: 7 });
    const [url, init] = fetch.mock.calls[0] ?? [];
    expect(url).toBe("http://x/api/chat/conversations/a%20b/messages?limit=50&before_seq=7");
    expect(init?.headers).toMatchObject({ Authorization: "Bearer t1" });
  });

  it("sends the other calls where they belong", async () => {
    const { rest, fetch } = makeRest([Response.json({}), Response.json({}), Response.json({})]);
    await rest.createConversation("l");
    await rest.archive("a", false);
    await rest.presence("u");
    expect(fetch.mock.calls.map(([url, { method, body }]) => [method, url, body])).toEqual([
      ["POST", "http://x/api/chat/conversations", '{"listing_id":"l"}'],
      ["PATCH", "http://x/api/chat/conversations/a/archive", '{"archived":false}'],
      ["GET", "http://x/api/chat/users/u/presence", undefined],
    ]);
  });

  it("renews a refused token once", async () => {
    let n = 0;
    const provider = () => tokenFor("u", undefined, String(++n));
    const refused = () => problem(401, { code: "unauthorized", detail: "", retryable: false });
    const { rest, fetch } = makeRest([refused(), Response.json([]), refused(), refused()], provider);
    await rest.messages("a", {});
    expect(fetch.mock.calls.map(([, init]) => (init.headers as Record<string, string>).Authorization?.slice(-1))).toEqual(["1", "2"]);
    await expect(rest.messages("a", {})).rejects.toMatchObject({ code: "unauthorized" });
    expect(fetch).toHaveBeenCalledTimes(4);
  });

  it("does not repeat with a fixed token", async () => {
    const { rest, fetch } = makeRest([problem(401, { code: "unauthorized", detail: "", retryable: false })]);
    await expect(rest.messages("a", {})).rejects.toMatchObject({ code: "unauthorized" });
    expect(fetch).toHaveBeenCalledTimes(1);
  });

  it("turns every failure into a ChatRequestError", async () => {
    const { rest } = makeRest([
      problem(422, { code: "invalid_payload", detail: "bad", retryable: false, fields: { limit: ["no"] } }),
      problem(429, { code: "rate_limited", detail: "slow", retryable: true, retry_after: 3 }),
      new Response("<html>gateway</html>", { status: 502 }),
      new Response("", { status: 500 }),
      new TypeError("fetch failed"),
    ]);
    const failures = [];
    for (let n = 0; n < 5; n += 1) failures.push(await rest.messages("a", {}).catch((error: unknown) => error));
    expect(failures).toMatchObject([
      { code: "invalid_payload", message: "bad", fields: { limit: ["no"] } },
      { code: "rate_limited", retryAfter: 3, retryable: true },
      { code: "unavailable", retryable: true },
      { code: "internal_error", retryable: false },
      { code: "offline", retryable: true },
    ]);
  });
});

describe("small parts", () => {
  it("waits grow up to a cap, with full jitter", () => {
    const most = new Backoff({ base: 100, cap: 1_000, random: () => 0.999_999 });
    expect(Array.from({ length: 6 }, () => Math.round(most.next()))).toEqual([100, 200, 400, 800, 1_000, 1_000]);
    most.reset();
    expect(Math.round(most.next())).toBe(100);
    const least = new Backoff({ base: 100, cap: 1_000, random: () => 0 });
    expect([least.next(), least.next(50)]).toEqual([0, 50]);
  });

  it("tells who watches once for all changes of one moment", async () => {
    let value = 1;
    const derived = new Derived(() => ({ value }));
    const stop = derived.subscribe(() => seen.push(derived.getSnapshot().value));
    const seen: number[] = [];
    for (value of [2, 3, 4]) derived.invalidate();
    expect(derived.getSnapshot()).toBe(derived.getSnapshot());
    await Promise.resolve();
    expect(seen).toEqual([4]);
    stop();
    derived.invalidate();
    await Promise.resolve();
    expect(seen).toEqual([4]);
  });

  it("makes UUIDs everywhere", () => {
    const form = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
    const real = globalThis.crypto;
    try {
      for (const crypto of [real, { getRandomValues: real.getRandomValues.bind(real) }, undefined]) {
        vi.stubGlobal("crypto", crypto);
        expect(uuid()).toMatch(form);
        expect(uuid()).not.toBe(uuid());
      }
    } finally {
      vi.unstubAllGlobals();
    }
  });
});
