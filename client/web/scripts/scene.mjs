/**
 * A server of its own with a lively demo conversation, for screenshots: the listings of
 * the demo, messages of two days, ticks, an answer, an edit, and somebody who types.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { io } from "socket.io-client";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));
const BIN = join(ROOT, ".venv", "bin");

/** Starts it; answers what `dev.json` says and `stop`. */
export async function startServer() {
  const port = await freePort();
  const directory = mkdtempSync(join(tmpdir(), "chat-scene-"));
  const child = spawn(join(BIN, "chatserver"), ["dev", "--port", port, "--data-dir", directory], { stdio: "ignore" });
  const stop = async () => {
    const ended = new Promise((resolve) => { child.once("exit", resolve); });
    child.kill("SIGTERM");
    await ended;
    rmSync(directory, { recursive: true, force: true });
  };
  try {
    await eventually(async () => (await fetch(`http://127.0.0.1:${port}/readyz`)).ok, 90_000);
    return { ...JSON.parse(readFileSync(join(directory, "dev.json"), "utf8")), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Fills the server; answers the conversation in the middle of it, and `end` for the landlord's socket. */
export async function playScene(server) {
  const [tenant, landlord, other, agent] = server.users;
  const [flat, studio, attic, room] = server.listings;
  const call = caller(server.base_url);
  const open = async (user, listing) => (await call(user, "POST", "/conversations", { listing_id: listing.id })).id;
  const say = (user, conversation, content, more = {}) =>
    call(user, "POST", `/conversations/${conversation}/messages`, { content, ...more });
  const read = (user, message) => call(user, "POST", `/messages/${message.id}/read`);

  const rented = await open(tenant, room);
  await say(tenant, rented, "¿La habitación tiene escritorio?");
  const answer = await say(agent, rented, "Sí, y una ventana grande a la calle. Ya está reservada, lo siento.");
  await read(tenant, answer);

  const quiet = await open(tenant, studio);
  await read(tenant, await say(landlord, quiet, "El estudio queda libre el día 1."));
  await say(tenant, quiet, "Gracias, me lo pienso y le digo algo el lunes");

  const main = await open(tenant, flat);
  await say(other, await open(other, flat), "Buenas, ¿sigue libre el piso de Malasaña?");
  const lines = [
    [tenant, "Hola, Javier. Soy Lucía, profesora. ¿Sigue disponible el piso de Malasaña?"],
    [landlord, "¡Hola, Lucía! Sí, sigue libre 🙂"],
    [landlord, "Son dos habitaciones y mucha luz por la mañana. ¿Cuándo te gustaría verlo?"],
    [tenant, "Genial. ¿El precio incluye los gastos de comunidad?"],
    [landlord, "Comunidad y agua, sí. La luz y el gas van aparte: unos 70 € al mes en invierno."],
    [tenant, "Perfecto, me encaja. ¿Podría visitarlo el jueves por la tarde?"],
    [landlord, "El jueves a las 18:30 lo tengo libre. Tienes el plano en https://easyrent.example/malasana"],
    [tenant, "¡Allí estaré! Llevo las nóminas y una referencia de mi casera actual"],
  ];
  const sent = [];
  for (const [user, content] of lines) {
    const more = content.startsWith("El jueves a las") ? { reply_to_seq: sent[5].seq } : {};
    sent.push(await say(user, main, content, more));
  }
  await call(landlord, "PATCH", `/messages/${sent[4].id}`, {
    content: "Comunidad y agua, sí. La luz y el gas van aparte: unos 60 € al mes en invierno.",
  });
  await read(tenant, sent[6]);
  await read(landlord, sent[7]);

  const attica = await open(tenant, attic);
  await say(tenant, attica, "Buenas tardes, ¿admiten mascotas?");
  await say(agent, attica, "Hola, Lucía. Sí, si es tranquila.");
  await say(agent, attica, "Mañana hay visitas de 11:00 a 13:00. ¿Le apunto?");

  await age(server.database_url, {
    [rented]: ["5 days 1 hour", "5 days"],
    [quiet]: ["2 days 3 hours", "2 days 2 hours"],
    [attica]: ["50 minutes", "40 minutes", "25 minutes"],
    [main]: ["23 hours", "22 hours 58 minutes", "22 hours 57 minutes", "22 hours 30 minutes", "22 hours 10 minutes",
      "20 minutes", "14 minutes", "6 minutes"],
  });
  return { conversation: main, ...(await typing(server, landlord, main)), say: (content) => say(landlord, main, content) };
}

/** The landlord's own socket: online, and typing until `end`. */
async function typing({ base_url, tokens }, user, conversation_id) {
  const socket = io(base_url, { auth: { token: tokens[user.id] }, transports: ["websocket"] });
  await socket.emitWithAck("join", { conversation_id });
  const type = () => { socket.emit("typing", { conversation_id, is_typing: true }); };
  type();
  const timer = setInterval(type, 2_000);
  return { end: () => { clearInterval(timer); socket.close(); } };
}

/** A scene happens in seconds; its messages look as if they had been written over days. */
function age(url, ages) {
  const messages = Object.entries(ages).flatMap(([id, list]) => list.map((interval, index) =>
    `UPDATE chat.messages SET created_at = now() - interval '${interval}' WHERE conversation_id = '${id}' AND seq = ${index + 1}`));
  return sql(url, [...messages, `UPDATE chat.conversations c SET created_at = created_at - interval '8 days',
    last_message_at = (SELECT max(created_at) FROM chat.messages m WHERE m.conversation_id = c.id)`]);
}

function sql(url, statements) {
  const program = `
import asyncio, asyncpg, sys
async def main():
    connection = await asyncpg.connect(sys.argv[1])
    for statement in sys.argv[2:]:
        await connection.execute(statement)
    await connection.close()
asyncio.run(main())`;
  const child = spawn(join(BIN, "python"), ["-c", program, url, ...statements], { stdio: ["ignore", "ignore", "inherit"] });
  return new Promise((resolve, reject) => {
    child.once("exit", (code) => { if (code === 0) resolve(); else reject(new Error(`SQL failed with ${code}`)); });
  });
}

function caller(base) {
  return async (user, method, path, body) => {
    const headers = { Authorization: `Bearer ${user.token}`, "Content-Type": "application/json" };
    const response = await fetch(`${base}/api/chat${path}`, { method, headers, ...(body ? { body: JSON.stringify(body) } : {}) });
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
    return response.json();
  };
}

async function eventually(condition, milliseconds) {
  const deadline = Date.now() + milliseconds;
  while (!(await condition().catch(() => false))) {
    if (Date.now() > deadline) throw new Error("The server did not start.");
    await new Promise((resolve) => { setTimeout(resolve, 200); });
  }
}

function freePort() {
  return new Promise((resolve) => {
    const probe = createServer().listen(0, "127.0.0.1", () => {
      const { port } = probe.address();
      probe.close(() => { resolve(String(port)); });
    });
  });
}
