/** The messages of one conversation that this device holds, and the pages that are on their way to them. */

import type { Message } from "./protocol.js";
import { Timeline, type CursorMove } from "./timeline.js";

/** Changes while a page was being fetched; it is newer than the page, or as new. */
export interface Recording {
  messages: Message[];
  moves: CursorMove[];
  /** The window was dropped meanwhile: the page may not fit any more. */
  isVoid: boolean;
}

/**
 * The gapless window that ends with the newest message, and may be empty; and a run
 * further back, which somebody reads until it meets the window.
 */
export class HeldMessages {
  readonly timeline = new Timeline();
  /** Only beside a window, and never adjacent to it. */
  readonly past = new Timeline();
  readonly #recordings = new Set<Recording>();
  #drops = 0;

  /** Number of times that all of it was dropped. */
  get drops(): number {
    return this.#drops;
  }

  /** Starts to record what happens, for a page that is being fetched. */
  record(): Recording {
    const recording: Recording = { messages: [], moves: [], isVoid: false };
    this.#recordings.add(recording);
    return recording;
  }

  /** Stops a recording whose page never came. */
  discard(recording: Recording): void {
    this.#recordings.delete(recording);
  }

  /** Takes a page that ends with `lastSeq` or before the window, or not: false when it does not fit (any more). */
  merge(page: readonly Message[], recording: Recording, lastSeq: number): boolean {
    this.#recordings.delete(recording);
    const last = Math.max(this.timeline.last ?? 0, ...page.map((message) => message.seq));
    // A first page has to end with the newest message, or the window would.
    if (recording.isVoid || last !== lastSeq || !this.timeline.merge(page)) return false;
    for (const message of recording.messages) this.timeline.put(message);
    for (const move of recording.moves) this.timeline.move(move);
    return true;
  }

  /** Takes a page into the run further back, or not: false when it does not fit (any more). */
  mergePast(page: readonly Message[], recording: Recording): boolean {
    this.#recordings.delete(recording);
    if (recording.isVoid || page.length === 0 || this.timeline.last === undefined) return false;
    if (!this.past.merge(page)) return false;
    for (const message of recording.messages) this.#putPast(message);
    for (const move of recording.moves) this.past.move(move);
    return true;
  }

  /** Makes one of both when they meet; whether they did. */
  join(): boolean {
    const { past, timeline } = this;
    if (past.last === undefined || timeline.first === undefined || past.last < timeline.first - 1) return false;
    timeline.merge(past.messages);
    past.clear();
    return true;
  }

  /** New messages, or newer states of held ones. */
  take(messages: readonly Message[]): void {
    for (const message of messages) {
      this.timeline.put(message);
      this.#putPast(message);
      this.note(message);
    }
  }

  /** For the pages under way alone: nothing is held that this could belong to. */
  note(message: Message): void {
    for (const recording of this.#recordings) recording.messages.push(message);
  }

  /** A receipt. */
  move(move: CursorMove): void {
    this.raise(move);
    for (const recording of this.#recordings) recording.moves.push(move);
  }

  /** Moves a cursor that every page under way knows, too. */
  raise(move: CursorMove): void {
    this.timeline.move(move);
    this.past.move(move);
  }

  /** Forgets all messages; pages under way will not fit any more. */
  drop(): void {
    this.#drops += 1;
    this.timeline.clear();
    this.past.clear();
    for (const recording of this.#recordings) recording.isVoid = true;
  }

  #putPast(message: Message): void {
    if (this.past.holds(message.seq)) this.past.put(message);
  }
}
