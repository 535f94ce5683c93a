// Events of all operations of the person, as they happen. Lost connections come back by themselves.

import {openSocket} from "./api.js";

const SIGNED_OUT = 4401, LONGEST_WAIT = 30_000;
let socket = null, wait = 1000, timer = 0;
const listeners = new Set();

export function listen(listener, signal) {
  listeners.add(listener);
  signal?.addEventListener("abort", () => listeners.delete(listener));
}

// `told` hears whether events come: "live", or "lost" until it is connected again.
export function connect(told) {
  const opened = openSocket("/ws/operations");
  socket = opened;
  opened.onopen = () => {
    wait = 1000;
    told("live");
    // what happened meanwhile was missed
    for (const listener of listeners) listener(null);
  };
  opened.onmessage = ({data}) => {
    const event = JSON.parse(data);
    for (const listener of listeners) listener(event);
  };
  opened.onclose = ({code}) => {
    if (socket !== opened) return;
    if (code === SIGNED_OUT) {
      window.dispatchEvent(new Event("signed-out"));
      return;
    }
    told("lost");
    timer = setTimeout(() => connect(told), wait);
    wait = Math.min(wait * 2, LONGEST_WAIT);
  };
}

export function disconnect() {
  clearTimeout(timer);
  const open = socket;
  socket = null;
  open?.close();
}
