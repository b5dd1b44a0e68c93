// The peer node-batch: what is sent while a batch is being stored is stored together.
import { randomUUID } from "node:crypto";
import { pool, Refused, serve } from "./chat.mjs";

const MAX_BATCH = 100;

// One statement and so one transaction: lock, check, deduplicate, number, insert.
const APPEND = {
  name: "append",
  text: `
    WITH input AS (
      SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::uuid[])
        WITH ORDINALITY AS i (id, conversation_id, sender_user_id, content, client_msg_id, place)
    ), locked AS (
      SELECT id, last_seq, client_user_id, owner_user_id FROM chat.conversations
      WHERE id = ANY ($2::uuid[]) ORDER BY id FOR UPDATE
    ), allowed AS (
      SELECT i.*, l.last_seq, l.client_user_id, l.owner_user_id
      FROM input i JOIN locked l ON l.id = i.conversation_id
      WHERE i.sender_user_id IN (l.client_user_id, l.owner_user_id)
    ), numbered AS (
      SELECT a.*,
        a.last_seq + row_number() OVER (PARTITION BY a.conversation_id ORDER BY a.place) AS seq
      FROM allowed a
      WHERE NOT EXISTS (
        SELECT FROM chat.messages m
        WHERE m.conversation_id = a.conversation_id AND m.sender_user_id = a.sender_user_id
          AND m.client_msg_id = a.client_msg_id)
    ), moved AS (
      UPDATE chat.conversations c SET last_seq = n.seq, last_message_at = clock_timestamp()
      FROM (SELECT conversation_id, max(seq) AS seq FROM numbered GROUP BY conversation_id) n
      WHERE c.id = n.conversation_id
    ), inserted AS (
      INSERT INTO chat.messages
        (id, conversation_id, seq, sender_user_id, content, client_msg_id, created_at)
      SELECT id, conversation_id, seq, sender_user_id, content, client_msg_id, clock_timestamp()
      FROM numbered
      RETURNING id, seq, created_at
    )
    SELECT a.place::int, a.client_user_id, a.owner_user_id,
      coalesce(n.id, m.id) AS id, coalesce(n.seq, m.seq) AS seq,
      coalesce(n.created_at, m.created_at) AS created_at, n.id IS NULL AS duplicate
    FROM allowed a
    LEFT JOIN inserted n ON n.id = a.id
    LEFT JOIN chat.messages m ON n.id IS NULL AND m.conversation_id = a.conversation_id
      AND m.sender_user_id = a.sender_user_id AND m.client_msg_id = a.client_msg_id`,
};

let waiting = [];
let isWorking = false;

function store(draft) {
  return new Promise((resolve, reject) => {
    waiting.push({ draft: { ...draft, id: randomUUID() }, resolve, reject });
    if (!isWorking) work();
  });
}

async function work() {
  isWorking = true;
  while (waiting.length > 0) await flush(take());
  isWorking = false;
}

/** The next batch: no two with one key, the later one waits for the next. */
function take() {
  const keys = new Set();
  const batch = [];
  const later = [];
  for (const entry of waiting) {
    const { conversation_id, sender_id, client_msg_id } = entry.draft;
    const key = `${conversation_id} ${sender_id} ${client_msg_id}`;
    if (batch.length === MAX_BATCH || keys.has(key)) later.push(entry);
    else batch.push(entry);
    keys.add(key);
  }
  waiting = later;
  return batch;
}

async function flush(batch) {
  try {
    const found = await append(batch.map((entry) => entry.draft));
    batch.forEach(({ resolve, reject }, i) => {
      if (found[i] === undefined) reject(new Refused("not_found"));
      else resolve(found[i]);
    });
  } catch (error) {
    // One that PostgreSQL refuses must not fail its neighbours.
    if (batch.length === 1) batch[0].reject(error);
    else for (const entry of batch) await flush([entry]);
  }
}

async function append(drafts) {
  const column = (name) => drafts.map((draft) => draft[name]);
  const names = ["id", "conversation_id", "sender_id", "content", "client_msg_id"];
  const { rows } = await pool.query({ ...APPEND, values: names.map(column) });
  const found = new Array(drafts.length);
  for (const row of rows) {
    const draft = drafts[row.place - 1];
    found[row.place - 1] = {
      message: { ...draft, id: row.id, seq: row.seq, created_at: row.created_at },
      participants: [row.client_user_id, row.owner_user_id],
      duplicate: row.duplicate,
    };
  }
  return found;
}

serve(store);
