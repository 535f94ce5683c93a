// Operations of a collection, as they go on.

import {call, pathOf} from "./api.js";
import {go, readAddress} from "./address.js";
import {command, fill, make, say} from "./dom.js";
import {listen} from "./live.js";
import {isProgress, readProgress} from "./progress.js";
import {KINDS, count, lasted, makeTime} from "./words.js";

const PAGE = 20, MOST = 100;
const UNDER_WAY = ["pending", "running"];

export function showOperations(room, {collection, signal}) {
  const limit = Math.min(Math.max(Number(readAddress().limit) || PAGE, 1), MOST);
  const rows = new Map();
  const load = async () => {
    const {operations} = await call("GET", "/operations", {query: {collection: collection.id, limit}, signal});
    if (!operations.length) {
      return say("empty", "Nothing has happened here yet.", command(`vecloom index FOLDER --collection ${collection.name}`));
    }
    const list = make("ol", {class: "operations"});
    rows.clear();
    for (const one of operations) list.append(place(rows, one));
    const more = operations.length === limit && limit < MOST && make("button", {
      type: "button", class: "more", onclick: () => go({limit: String(Math.min(limit + PAGE * 2, MOST))}),
    }, "More");
    return [list, more];
  };
  const again = () => fill(room, signal, "Reading", load);
  listen((event) => {
    if (!event) return again();
    if (event.collection_id !== collection.id) return null;
    const row = rows.get(event.operation_id);
    if (!row) return again();
    if (isProgress(event.type)) return row.move(event.data);
    return row.refresh(signal);
  }, signal);
  return again();
}

function place(rows, operation) {
  const head = make("header", {}), body = make("div", {});
  let now = operation, asked = false;
  const paint = (fresh) => {
    now = fresh;
    head.replaceChildren(...describe(now, paint));
    body.replaceChildren(...tell(now));
  };
  rows.set(operation.operation_id, {
    // progress comes often: buttons stay, so that they can be pressed
    move(data) {
      if (now.state === "pending") paint({...now, state: "running"});
      now = {...now, progress: data, why_waiting: null};
      if (now.state === "running") body.replaceChildren(...tell(now));
    },
    // several events at once are one question
    refresh(signal) {
      if (asked) return;
      asked = true;
      setTimeout(async () => {
        asked = false;
        try {
          paint(await call("GET", pathOf("operations", now.operation_id), {signal}));
        } catch (error) {
          if (!signal.aborted) console.warn(error.message);
        }
      }, 100);
    },
  });
  paint(operation);
  return make("li", {class: "card operation"}, head, body);
}

function describe(operation, paint) {
  const failed = operation.result?.documents_failed ?? 0;
  const state = operation.state === "completed" && failed ? "completed with errors" : operation.paused_at ? "paused" : operation.state;
  const took = lasted(operation.started_at, operation.finished_at);
  return [
    make("strong", {}, KINDS[operation.kind] ?? operation.kind),
    make("span", {class: `state ${operation.state}${failed ? " errors" : ""}`}, state),
    make("span", {class: "soft"}, makeTime(operation.created_at), took && ` · took ${took}`),
    make("span", {class: "actions"}, makeActions(operation, paint)),
  ];
}

function tell(operation) {
  const isUnderWay = UNDER_WAY.includes(operation.state);
  const failed = operation.result?.documents_failed ?? 0;
  const done = operation.state === "completed" ? sayDone(operation.result ?? {}) : "";
  return [
    isUnderWay && operation.why_waiting && make("p", {}, `Waits: ${operation.why_waiting}`),
    isUnderWay && makeBar(readProgress(operation.progress)),
    done && make("p", {class: "soft"}, done),
    failed > 0 && make("p", {}, `${count(failed, "document")} could not be read.`),
    operation.error_code && make("p", {class: "trouble"}, operation.error_message ?? operation.error_code,
      make("span", {class: "soft"}, ` (${operation.error_code}${operation.retryable ? ", a retry may help" : ""})`)),
  ].filter(Boolean);
}

const RESULTS = [
  ["documents_added", "document", "added"], ["documents_changed", "document", "changed"],
  ["documents_removed", "document", "removed"], ["chunks", "chunk", ""], ["points", "point", ""],
];

const sayDone = (result) => RESULTS.filter(([name]) => typeof result[name] === "number" && result[name] > 0)
  .map(([name, noun, verb]) => `${count(result[name], noun)} ${verb}`.trim()).join(" · ");

function makeBar(progress) {
  if (!progress) return make("progress", {"aria-label": "Under way"});
  // when one part is done, the next has not said yet how much it is
  const bar = progress.total && progress.done < progress.total ? {value: String(progress.done), max: String(progress.total)} : {};
  return make("div", {class: "far"}, make("progress", {"aria-label": "Done", ...bar}), make("span", {class: "soft"}, progress.note));
}

function makeActions(operation, paint) {
  const trouble = make("span", {class: "trouble", role: "alert"});
  const act = (verb) => async ({target}) => {
    target.disabled = true;
    try {
      paint(await call("POST", pathOf("operations", operation.operation_id, verb)));
    } catch (error) {
      trouble.textContent = error.message;
      target.disabled = false;
    }
  };
  const button = (verb, name) => make("button", {type: "button", onclick: act(verb)}, name);
  if (UNDER_WAY.includes(operation.state)) return [trouble, button("cancel", "Cancel")];
  const canRetry = operation.state === "cancelled" || (operation.state === "failed" && operation.retryable !== false);
  return canRetry ? [trouble, button("retry", "Retry")] : [];
}
