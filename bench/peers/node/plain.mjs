// The peer node-plain: one transaction for each message.
import { randomUUID } from "node:crypto";
import { pool, Refused, serve } from "./chat.mjs";

// Checks the membership, locks the conversation and gives the number.
const NUMBER = {
  name: "number",
  text: `
    UPDATE chat.conversations SET last_seq = last_seq + 1, last_message_at = clock_timestamp()
    WHERE id = $1 AND $2::uuid IN (client_user_id, owner_user_id)
    RETURNING last_seq, client_user_id, owner_user_id`,
};
const INSERT = {
  name: "insert",
  text: `
    INSERT INTO chat.messages
      (id, conversation_id, seq, sender_user_id, content, client_msg_id, created_at)
    VALUES ($1, $2, $3, $4, $5, $6, clock_timestamp())
    ON CONFLICT (conversation_id, sender_user_id, client_msg_id) DO NOTHING
    RETURNING id, conversation_id, seq, sender_user_id AS sender_id, content, client_msg_id,
              created_at`,
};
const FIRST = {
  name: "first",
  text: `
    SELECT id, conversation_id, seq, sender_user_id AS sender_id, content, client_msg_id, created_at
    FROM chat.messages
    WHERE conversation_id = $1 AND sender_user_id = $2 AND client_msg_id = $3`,
};

async function insert(client, { conversation_id, sender_id, content, client_msg_id }) {
  const { rows } = await client.query({ ...NUMBER, values: [conversation_id, sender_id] });
  if (rows.length === 0) throw new Refused("not_found");
  const { last_seq, client_user_id, owner_user_id } = rows[0];
  const inserted = await client.query({
    ...INSERT,
    values: [randomUUID(), conversation_id, last_seq, sender_id, content, client_msg_id],
  });
  return { message: inserted.rows[0], participants: [client_user_id, owner_user_id] };
}

async function store(draft) {
  const client = await pool.connect();
  try {
    await client.query("BEGIN");
    const stored = await insert(client, draft);
    if (stored.message !== undefined) {
      await client.query("COMMIT");
      return { ...stored, duplicate: false };
    }
    await client.query("ROLLBACK");
    const values = [draft.conversation_id, draft.sender_id, draft.client_msg_id];
    const { rows } = await client.query({ ...FIRST, values });
    return { message: rows[0], participants: [], duplicate: true };
  } catch (error) {
    await client.query("ROLLBACK");
    throw error;
  } finally {
    client.release();
  }
}

serve(store);
