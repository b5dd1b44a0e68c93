// A chat on Socket.IO as a team would write it: what both Node.js peers have in common.
import { createServer } from "node:http";
import jwt from "jsonwebtoken";
import pg from "pg";
import { Server } from "socket.io";

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const MAX_LENGTH = 5000;

// Numbers of a conversation stay far below 2^53.
pg.types.setTypeParser(pg.types.builtins.INT8, Number);

export const pool = new pg.Pool({
  connectionString: process.env.DATABASE_URL,
  max: Number(process.env.POOL_SIZE),
});

/** An error that the client is told. */
export class Refused extends Error {
  constructor(code) {
    super(code);
    this.code = code;
  }
}

function checked(body) {
  const { conversation_id, content, client_msg_id } = body ?? {};
  const isText = typeof content === "string" && content.trim() !== "";
  if (!UUID.test(conversation_id) || !UUID.test(client_msg_id)) throw new Refused("invalid_payload");
  if (!isText || content.length > MAX_LENGTH) throw new Refused("invalid_payload");
  return { conversation_id, content, client_msg_id };
}

/**
 * Serve until SIGTERM.
 *
 * `store({conversation_id, sender_id, content, client_msg_id})` resolves once the message
 * is committed, to `{message, participants, duplicate}`, or rejects with Refused.
 */
export function serve(store) {
  const http = createServer();
  const io = new Server(http, { transports: ["websocket"], perMessageDeflate: false });

  io.use((socket, next) => {
    try {
      const claims = jwt.verify(socket.handshake.auth.token, process.env.JWT_SECRET, {
        algorithms: ["HS256"],
      });
      socket.data.userId = claims.sub;
      next();
    } catch {
      next(new Refused("unauthorized"));
    }
  });

  io.on("connection", (socket) => {
    socket.join(`user:${socket.data.userId}`);
    socket.on("message", async (body, acknowledge) => {
      try {
        const sent = await store({ ...checked(body), sender_id: socket.data.userId });
        acknowledge?.({ ok: true, message: sent.message, duplicate: sent.duplicate });
        if (!sent.duplicate) {
          io.to(sent.participants.map((id) => `user:${id}`)).emit("message", sent.message);
        }
      } catch (error) {
        if (!(error instanceof Refused)) console.error(error);
        acknowledge?.({ ok: false, error: { code: error.code ?? "internal_error" } });
      }
    });
  });

  process.on("SIGTERM", () => {
    io.close(() => pool.end().then(() => process.exit(0)));
  });
  http.listen(Number(process.env.PORT), "127.0.0.1", 4096);
}
