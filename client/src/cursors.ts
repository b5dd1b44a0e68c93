/** Cursors of people in a conversation, and the receipts that follow from them. */

import type { Conversation } from "./protocol.js";
import type { CursorMove } from "./timeline.js";

/** The two states that a receipt speaks of. */
export type ReceiptStatus = CursorMove["status"];

/** Up to which `seq` each participant has come. */
export interface Cursors {
  client: number;
  owner: number;
}

/** True if the user is one of the two whom the conversation is between. */
export function isParticipant(info: Conversation, userId: string): boolean {
  return userId === info.client_user_id || userId === info.owner_user_id;
}

/**
 * Receipts that follow from two cursors: each participant's are the other's to receive,
 * and those of a third voice have arrived when either participant has them.
 */
export function cursorMoves(
  info: Conversation, { client, owner }: Cursors, status: ReceiptStatus, at: string | null,
): CursorMove[] {
  return [
    { concerns: (sender) => sender === info.client_user_id, seq: owner, status, at },
    { concerns: (sender) => sender === info.owner_user_id, seq: client, status, at },
    { concerns: (sender) => !isParticipant(info, sender), seq: Math.max(client, owner), status, at },
  ];
}

/**
 * Receipts, as this device has heard them. A participant's snapshots say more; for a
 * third voice, whose snapshots have no cursors, it is all there is, so that nothing is
 * claimed that nobody has said.
 */
export class ReceiptCursors {
  readonly #told = { delivered: new Map<string, number>(), read: new Map<string, number>() };

  /** `by` has come up to `seq`; reading says that it was delivered too. */
  note(status: ReceiptStatus, by: string, seq: number): void {
    const { delivered, read } = this.#told;
    delivered.set(by, Math.max(seq, delivered.get(by) ?? 0));
    if (status === "read") read.set(by, Math.max(seq, read.get(by) ?? 0));
  }

  /** Both participants' cursors as `userId`, whose snapshot `info` is, can know them. */
  known(info: Conversation, userId: string, status: ReceiptStatus): Cursors {
    const told = (id: string): number => this.#told[status].get(id) ?? 0;
    const own = Math.max(info.read_seq, told(userId));
    const peer = status === "read" ? info.peer_read_seq : info.peer_delivered_seq;
    if (userId === info.client_user_id) return { client: own, owner: peer };
    if (userId === info.owner_user_id) return { client: peer, owner: own };
    return { client: told(info.client_user_id), owner: told(info.owner_user_id) };
  }

  clear(): void {
    this.#told.delivered.clear();
    this.#told.read.clear();
  }
}
