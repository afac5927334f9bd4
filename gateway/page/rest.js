// The gateway's REST and live messages. The key goes in headers and first messages only.

const HERE = new URL(".", location.href);
const STORED = "actverse.key";
const SILENCE = 30_000;

export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

export const currentKey = () => sessionStorage.getItem(STORED) ?? "";
export const keepKey = (key) => sessionStorage.setItem(STORED, key);
export const forgetKey = () => sessionStorage.removeItem(STORED);

const at = (path) => new URL(path, HERE);
const away = () => new Problem(0, "The gateway does not answer: is it running?");

function problem(status, text) {
  let detail = status === 401 ? "This API key is unknown or was revoked: give another." : "";
  try {
    detail ||= JSON.parse(text).detail;
  } catch {
    // A proxy's page, perhaps.
  }
  return new Problem(status, String(detail || `The gateway answered with status ${status}.`));
}

/** Call an endpoint; its Response, or a Problem thrown with what the gateway says. */
export async function call(path, { method = "GET", body, headers = {} } = {}) {
  let answer;
  try {
    answer = await fetch(at(path), {
      method,
      body,
      headers: { ...headers, "X-API-Key": currentKey() },
      credentials: "omit",
      cache: "no-store",
      redirect: "error",
    });
  } catch {
    throw away();
  }
  if (!answer.ok) throw problem(answer.status, await answer.text().catch(() => ""));
  return answer;
}

export const read = async (path, options) => (await call(path, options)).json();

/** Send a form; `told` is given how many bytes of how many are sent. */
export function send(path, form, headers, told) {
  const request = new XMLHttpRequest();
  const answer = new Promise((resolve, reject) => {
    request.onload = () => {
      const { status, responseText } = request;
      status === 202 ? resolve(JSON.parse(responseText)) : reject(problem(status, responseText));
    };
    request.onerror = () => reject(away());
    request.onabort = () => reject(new Problem(0, "The upload was stopped."));
  });
  request.upload.onprogress = ({ loaded, total }) => told(loaded, total);
  request.open("POST", at(path));
  for (const [name, value] of Object.entries({ ...headers, "X-API-Key": currentKey() })) {
    request.setRequestHeader(name, value);
  }
  request.send(form);
  return { answer, abort: () => request.abort() };
}

/**
 * Watch a task by its WebSocket; where that breaks, connect again and go on after the last message.
 * `heard` is given each message, {event, id, data}; `said` is given "live", "lost", "ended", or
 * "refused" and a Problem. Returns what ends it.
 */
export function watch(taskId, heard, said) {
  const address = at(`ws/tasks/${taskId}`);
  address.protocol = address.protocol.replace("http", "ws");
  let socket, retry, guard;
  let last = 0, tries = 0, opened = 0;

  function open() {
    drop();
    socket = new WebSocket(address);
    socket.onopen = () => {
      opened = Date.now();
      socket.send(JSON.stringify({ api_key: currentKey(), last_event_id: last }));
      said("live");
      expect();
    };
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      last = message.id;
      expect();
      heard(message);
    };
    socket.onclose = ({ code, reason }) => {
      if (code === 1000) {
        drop();
        said("ended");
      } else if (code === 1008 && !reason.startsWith("TooManyRequests")) {
        const status = reason.startsWith("Unauthorized") ? 401 : 404;
        drop();
        said("refused", problem(status, JSON.stringify({ detail: reason.replace(/^\w+: /, "") })));
      } else {
        again();
      }
    };
  }

  function again() {
    drop();
    said("lost");
    tries = Date.now() - opened > 10_000 ? 0 : tries + 1;
    retry = setTimeout(open, Math.min(400 * 2 ** tries, 15_000) * (0.75 + Math.random() / 2));
  }

  // A connection whose other end is gone can look open for hours.
  function expect() {
    clearTimeout(guard);
    const known = last, watched = socket;
    guard = setTimeout(async () => {
      const status = await read(`status/${taskId}`).catch(() => null);
      if (watched === socket && last === known) status?.revision === known ? expect() : again();
    }, SILENCE);
  }

  function drop() {
    clearTimeout(retry);
    clearTimeout(guard);
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
      socket = null;
    }
  }

  open();
  return drop;
}
