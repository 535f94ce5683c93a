// How far an operation is, from an event or from the last progress that is kept of it.

import {count} from "./words.js";

const say = (done, total, note) => ({done, total, note});

// Of each shape of progress: what is done, of how much, and in words.
const SHAPES = [
  [(data) => data.documents?.total !== undefined, (data) => {
    const {total, done = 0, failed = 0, skipped = 0, needs_ocr: unread = 0} = data.documents;
    const settled = Math.min(done + failed + unread, total) || Math.min(skipped, total);
    return say(settled, data.scanning ? 0 : total, [
      `${settled.toLocaleString("en")} of ${count(total, "document")}${data.scanning ? " so far" : ""}`,
      failed && `${count(failed, "failed", "failed")}`,
      data.rate?.tokens_per_second && `${count(Math.round(data.rate.tokens_per_second), "token")}/s`,
      data.eta_seconds && `${Math.round(data.eta_seconds[0])} to ${Math.round(data.eta_seconds[1])} s left`,
      data.limiting_stage && `limited by ${data.limiting_stage}`,
    ]);
  }],
  [(data) => data.queries !== undefined, (data) => say(data.query, data.queries,
    [`query ${data.query} of ${data.queries}`, data.runs && `run ${data.run} of ${data.runs}`])],
  [(data) => data.fetched !== undefined, (data) => say(data.fetched, data.total, [`${count(data.fetched, "point")} read`])],
  [(data) => data.compared !== undefined, (data) => say(data.compared, data.total, [`${count(data.compared, "point")} compared`])],
  [(data) => data.removed !== undefined, (data) => say(data.removed, data.total, [`${count(data.removed, "document")} removed`])],
  [(data) => data.done !== undefined, (data) => say(data.done, data.total, [data.stage, `${data.done} of ${data.total}`])],
  [(data) => data.found !== undefined, (data) => say(0, 0, [`${count(data.found, "document")} found`])],
];

export function readProgress(data) {
  const shape = data && SHAPES.find(([fits]) => fits(data));
  if (!shape) return null;
  const {done, total, note} = shape[1](data);
  return {done, total, note: note.filter(Boolean).join(" · ")};
}

export const isProgress = (type) => type.endsWith("_progress") || ["scanning_documents", "removing_documents"].includes(type);
