/** The server's limits: what it says, or its defaults until it has said. */

import { asChatError } from "./errors.js";
import type { Logger } from "./logger.js";
import { Value } from "./observable.js";
import { Pause } from "./pause.js";
import type { ServerConfig } from "./protocol.js";
import type { Rest } from "./rest.js";

/** Configuration of a server whose operator changed nothing. */
export const DEFAULT_CONFIG: ServerConfig = { max_length: 5_000, edit_window: 900, max_packet_bytes: 131_072 };

const RETRY = 30_000;

/** Asks once for each client, and again until there is an answer; an older server has none to give. */
export class Config extends Value<ServerConfig> {
  readonly #rest: Pick<Rest, "config">;
  readonly #logger: Logger;
  readonly #pause = new Pause();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isDone = false;
  #isAsking = false;

  constructor(rest: Pick<Rest, "config">, logger: Logger) {
    super(DEFAULT_CONFIG);
    this.#rest = rest;
    this.#logger = logger;
  }

  /** The connection is there: ask, unless it is known. */
  online(): void {
    if (!this.#isDone && !this.#isAsking && this.#pause.left === 0) void this.#ask();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  async #ask(): Promise<void> {
    this.#isAsking = true;
    clearTimeout(this.#timer);
    try {
      this.set({ ...DEFAULT_CONFIG, ...known(await this.#rest.config()) });
      this.#isDone = true;
    } catch (thrown) {
      this.#failed(thrown);
    } finally {
      this.#isAsking = false;
    }
  }

  #failed(thrown: unknown): void {
    const error = asChatError(thrown);
    this.#logger.debug("The server's limits could not be read", error.toJSON());
    this.#isDone = error.code === "not_found";
    if (this.#isDone) return;
    this.#pause.note(error);
    this.#timer = setTimeout(() => { this.online(); }, Math.max(RETRY, this.#pause.left));
  }
}

/** Only what is a limit: whatever else an answer holds must not turn a limit off. */
function known(answer: ServerConfig): Partial<ServerConfig> {
  return Object.fromEntries(Object.entries(answer).filter(([, value]) => typeof value === "number" && value > 0));
}
