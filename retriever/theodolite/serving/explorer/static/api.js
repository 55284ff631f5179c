// Requests to the server. The token comes from the address's fragment, which browsers never send, and stays here.

let token = null;

/** Take the token and the collection's name out of the address, and remove them from it. */
export function readAddress() {
  const values = new URLSearchParams(location.hash.slice(1));
  token = values.get("token");
  if (location.hash) history.replaceState(null, "", location.pathname);
  return values.get("collection");
}

export function useToken(given) {
  token = given;
}

/** What the server says is wrong. */
export class ServerError extends Error {
  constructor(status, error) {
    super(error.message ?? `the server answered ${status}`);
    this.status = status;
    this.param = error.param ?? null;
  }
}

async function call(method, path, body, signal) {
  const headers = token === null ? {} : { Authorization: `Bearer ${token}` };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError(0, { message: "The server cannot be reached. Is it still running?" });
  }
  const value = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new ServerError(answer.status, value.error ?? {});
  return value;
}

const named = (prefix, name, what) => `${prefix}/${encodeURIComponent(name)}/${what}`;

export const listCollections = () => call("GET", "/api/v1/collections");
/** Ask the native API about a collection: `search`, `fields`, `get`. */
export const ask = (name, what, body, signal) => call("POST", named("/api/v1/collections", name, what), body, signal);
/** Ask for what only this page shows: `document`, `why_not`; with `measure`, `map` and `health`. */
export const explore = (name, what, body, signal) => call("POST", named("/api/explorer", name, what), body, signal);
/** Ask for what takes longer than a request. `progress` hears how far it is, until the answer is there. */
export async function measure(name, what, body, progress, signal) {
  let answer = await explore(name, what, body, signal);
  while (answer.progress) {
    progress(answer.progress);
    answer = await explore(name, what, { ...body, job: answer.job }, signal);
  }
  return answer;
}
export const stagesOf = (name) => call("GET", named("/api/explorer", name, "stages"));
