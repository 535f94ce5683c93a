// Asks the API. The browser sends the cookie of the session by itself.

const ROOT = "/api/v1";

export class ApiError extends Error {
  constructor(code, message, status) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

export async function call(method, path, {body, query, signal} = {}) {
  const headers = body === undefined ? {} : {"Content-Type": "application/json"};
  let response;
  try {
    response = await fetch(addressOf(path, query), {
      method, headers, signal, credentials: "same-origin", body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("no_connection", "The server does not answer. Is it running?", 0);
  }
  if (response.ok) return response.status === 204 ? null : response.json();
  const problem = await response.json().catch(() => ({}));
  if (response.status === 401 && path !== "/session") window.dispatchEvent(new Event("signed-out"));
  throw new ApiError(problem.code ?? "unknown_answer", problem.detail ?? `The server answered ${response.status}.`, response.status);
}

export function addressOf(path, query) {
  const asked = new URLSearchParams(Object.entries(query ?? {}).filter(([, value]) => value !== undefined && value !== null));
  return ROOT + path + (asked.size ? `?${asked}` : "");
}

export const pathOf = (...parts) => "/" + parts.map(encodeURIComponent).join("/");

export function openSocket(path) {
  return new WebSocket(location.origin.replace(/^http/, "ws") + ROOT + path);
}
