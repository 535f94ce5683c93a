// Numbers, times and states as people read them.

export const count = (number, one, many = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

export function makeTime(text) {
  if (!text) return "";
  const node = document.createElement("time");
  node.dateTime = text;
  node.title = new Date(text).toLocaleString();
  node.textContent = ago(text);
  return node;
}

export function ago(text) {
  const seconds = (Date.now() - new Date(text)) / 1000;
  for (const [size, unit] of [[86400, "day"], [3600, "hour"], [60, "minute"]]) {
    if (seconds >= size) return `${count(Math.floor(seconds / size), unit)} ago`;
  }
  return seconds >= 5 ? `${Math.floor(seconds)} seconds ago` : "just now";
}

export function lasted(begin, end) {
  if (!begin || !end) return "";
  const seconds = (new Date(end) - new Date(begin)) / 1000;
  if (seconds < 90) return `${seconds.toFixed(1)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

export const KINDS = {
  INDEX: "Index", APPEND: "Bring up to date", REMOVE_SOURCE: "Remove a source", REINDEX: "Rebuild", ROLLBACK: "Go back",
  VERIFY: "Verify", PLAN: "Dry run", DELETE: "Delete", BENCHMARK: "Benchmark", PROJECTION: "Map",
  RETRY_DOCUMENTS: "Retry documents",
};

export const STALE = {
  documents_changed: "documents have changed since",
  generation_changed: "the collection was rebuilt since",
};
