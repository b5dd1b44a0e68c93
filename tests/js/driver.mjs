// Real socket.io-client sockets under the control of a test.
//
// Standard input takes one command a line, {id, do, …}; standard output gives one
// line for each result, {id, result} or {id, error}, and for everything that happens
// to a socket, {socket, event, args}: the server's events, and the client's own
// "connect", "disconnect" and "connect_error".

import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { io as newest } from "socket.io-client";

const ACK_TIMEOUT = 60_000;

const older = createRequire(new URL("./old/", import.meta.url));
const sockets = new Map();

function say(line) {
  process.stdout.write(JSON.stringify(line) + "\n");
}

// Of a request by long-polling that failed: the answer's status and text.
function answered(error) {
  return typeof error.description === "number"
    ? { status: error.description, text: error.context?.responseText ?? null }
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

// The acknowledgement. Versions before 4.4 know no timeout, those before 4.6 no promise.
function ask(socket, event, ...args) {
  if (socket.emitWithAck) {
    return socket.timeout(ACK_TIMEOUT).emitWithAck(event, ...args);
  }
  return new Promise((resolve, reject) => {
    const timer = setTimeout(reject, ACK_TIMEOUT, new Error(`no answer to ${event}`));
    socket.emit(event, ...args, (answer) => {
      clearTimeout(timer);
      resolve(answer);
    });
  });
}

const commands = {
  // Begins to connect; `options` are socket.io-client's own, but for `library`: the name
  // of an older version in old/package.json.
  open({ socket: name, url, options: { library, ...options } }) {
    const io = library ? older(library).io : newest;
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
    return ask(sockets.get(socket), event, ...args);
  },

  // The acknowledgements of events that are all emitted in this turn.
  burst({ socket, event, payloads }) {
    return Promise.all(payloads.map((payload) => ask(sockets.get(socket), event, payload)));
  },

  // An event that asks for no acknowledgement.
  emit({ socket, event, args }) {
    sockets.get(socket).emit(event, ...args);
  },

  transport({ socket }) {
    return sockets.get(socket).io.engine.transport.name;
  },

  reopen({ socket }) {
    sockets.get(socket).disconnect().connect();
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
