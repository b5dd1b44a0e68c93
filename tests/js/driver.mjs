// Real socket.io-client sockets under the control of a test.
//
// Standard input takes one command a line, {id, do, …}; standard output gives one
// line for each result, {id, result} or {id, error}, and for everything that happens
// to a socket, {socket, event, args}: the server's events, and the client's own
// "connect", "disconnect" and "connect_error".

import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const sockets = new Map();

function say(line) {
  process.stdout.write(JSON.stringify(line) + "\n");
}

// Of a request by long-polling that failed: the answer's status and text.
function answered(error) {
  return typeof error.description === "number"
    ? { status: error.description, text: error.context.responseText }
    : {};
}

function report(name, socket) {
  const tell = (event, ...args) => say({ socket: name, event, args });
  socket.onAny(tell);
  socket.on("connect", () => tell("connect", socket.id));
  socket.on("disconnect", (reason) => tell("disconnect", reason));
  socket.on("connect_error", (error) =>
    tell("connect_error", {
      message: error.message,
      data: error.data ?? null,
      ...answered(error),
    }),
  );
}

const commands = {
  // Begins to connect; `options` are socket.io-client's own.
  open({ socket: name, url, options }) {
    const socket = io(url, {
      forceNew: true,
      reconnectionDelay: 50,
      reconnectionDelayMax: 200,
      ...options,
    });
    report(name, socket);
    sockets.set(name, socket);
  },

  // The acknowledgement.
  call({ socket, event, args }) {
    return sockets.get(socket).timeout(10_000).emitWithAck(event, ...args);
  },

  // An event that asks for no acknowledgement.
  emit({ socket, event, args }) {
    sockets.get(socket).emit(event, ...args);
  },

  transport({ socket }) {
    return sockets.get(socket).io.engine.transport.name;
  },

  close({ socket }) {
    sockets.get(socket).close();
  },

  reset() {
    for (const socket of sockets.values()) {
      socket.offAny();
      socket.removeAllListeners();
      socket.close();
    }
    sockets.clear();
  },
};

async function run({ id, do: name, ...parameters }) {
  try {
    say({ id, result: (await commands[name](parameters)) ?? null });
  } catch (error) {
    say({ id, error: String(error) });
  }
}

createInterface({ input: process.stdin })
  .on("line", (line) => run(JSON.parse(line)))
  .on("close", () => process.exit());
