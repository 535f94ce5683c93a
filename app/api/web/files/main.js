// The page: who is signed in, which collection, which view. Views show themselves; the address says which.

import {call} from "./api.js";
import {go, readAddress, takeCode, writeAddress} from "./address.js";
import {showBenchmarks} from "./benchmarks.js";
import {command, explain, make, makeLoading, say, show} from "./dom.js";
import {handleKey} from "./hits.js";
import {showJudged} from "./judged.js";
import {connect, disconnect, listen} from "./live.js";
import {showMaps} from "./maps.js";
import {showOperations} from "./operations.js";
import {showSearch} from "./search.js";
import {askForKey, findSession} from "./sign_in.js";
import {count} from "./words.js";

const VIEWS = {
  search: ["Search", showSearch], judged: ["Judged", showJudged], operations: ["Operations", showOperations],
  maps: ["Maps", showMaps], benchmarks: ["Benchmarks", showBenchmarks],
};
const byId = (id) => document.getElementById(id);
const room = byId("room"), chooser = byId("collection");
let session = null, collections = [], shown = new AbortController();

function enter(found) {
  session = found;
  for (const id of ["sign-out", "views", "live"]) byId(id).hidden = false;
  byId("sign-out").title = `${session.user}, key ${session.key}`;
  connect((state) => {
    byId("live").dataset.state = state;
    byId("live").textContent = state === "live" ? "Live" : "Connecting";
  });
  return start();
}

function leave(reason) {
  if (!session && room.querySelector(".sign-in")) return;
  session = null;
  shown.abort();
  disconnect();
  for (const id of ["sign-out", "views", "live", "chooser"]) byId(id).hidden = true;
  byId("facts").textContent = "";
  document.title = "Vecloom";
  askForKey(room, reason, enter);
}

async function start() {
  show(room, makeLoading("Reading collections"));
  try {
    await readCollections();
    await render();
  } catch (error) {
    if (session) show(room, explain(error, start));
  }
}

async function readCollections() {
  ({collections} = await call("GET", "/collections"));
  chooser.replaceChildren(...collections.map((one) => make("option", {value: one.name}, one.name)));
  byId("chooser").hidden = collections.length === 0;
  describeCollection();
}

const findCollection = () => {
  const {collection} = readAddress();
  if (collection) return collections.find((one) => one.name === collection || one.id === collection);
  return collections.find((one) => one.chunks > 0) ?? collections[0];
};

function describeCollection() {
  const one = findCollection();
  if (!one) return;
  chooser.value = one.name;
  const {completed = 0, failed = 0, needs_ocr: unread = 0} = one.documents;
  const state = one.paused_at ? "paused" : one.busy ? "being written" : one.state;
  byId("facts").textContent = [
    one.name, state, count(completed, "document"), failed && `${failed} failed`, unread && `${unread} to be recognised`,
    count(one.chunks, "chunk"), one.model,
  ].filter(Boolean).join(" · ");
}

function describeViews(view) {
  show(byId("views"), Object.entries(VIEWS).map(([name, [title]]) => make("a", {
    href: writeAddress({view: name, limit: ""}), "aria-current": name === view ? "page" : null,
  }, title)));
}

async function render() {
  shown.abort();
  shown = new AbortController();
  const asked = readAddress();
  const view = Object.hasOwn(VIEWS, asked.view) ? asked.view : "search";
  describeViews(view);
  if (!collections.length) {
    show(room, say("empty", "There is no collection yet.", "Index a folder, and it appears here:",
      command("vecloom index FOLDER --collection NAME")));
    return;
  }
  const collection = findCollection();
  if (!collection) {
    show(room, say("error", `There is no collection ${asked.collection}.`, "It may be deleted, or another key's. Choose one above."));
    chooser.value = "";
    return;
  }
  describeCollection();
  document.title = `${view === "search" && asked.q ? asked.q : VIEWS[view][0]} · ${collection.name} · Vecloom`;
  room.dataset.view = view;
  await VIEWS[view][1](room, {collection, signal: shown.signal});
}

// What an operation has done shows in the figures; a new collection appears by itself. Many events are one question.
let waiting = 0;
listen((event) => {
  const isNews = !event || /^operation_(queued|started|completed|failed|cancelled)$/.test(event.type);
  if (isNews && !waiting) waiting = setTimeout(readNews, 300);
});

async function readNews() {
  waiting = 0;
  if (!session) return;
  const had = findCollection();
  await readCollections().catch((error) => console.warn(error.message));
  const has = findCollection();
  // what somebody types stays
  const isFilled = !had?.chunks && has?.chunks && room.dataset.view === "search" && !byId("query")?.value;
  if (session && (had?.id !== has?.id || isFilled)) await render();
}

byId("sign-out").addEventListener("click", async () => {
  try {
    await call("DELETE", "/session");
    leave();
  } catch (error) {
    show(room, explain(error));
  }
});
chooser.addEventListener("change", () => go({collection: chooser.value, limit: ""}));
window.addEventListener("hashchange", () => {
  if (readAddress().code) return begin();
  return session && render();
});
window.addEventListener("signed-out", () => leave("Your session has ended."));
document.addEventListener("keydown", (event) => {
  const isAsking = event.target.id === "query" && event.key === "ArrowDown";
  if (isAsking && handleKey("j")) event.preventDefault();
  const isTyping = event.target.matches("input:not([type=radio]), select, textarea");
  if (!session || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/" && byId("query")) {
    byId("query").select();
    event.preventDefault();
  } else if (handleKey(event.key)) {
    event.preventDefault();
  }
});

async function begin() {
  show(room, makeLoading("Signing in"));
  try {
    const found = await findSession(takeCode());
    if (!found) leave();
    else if (session) await start();
    else await enter(found);
  } catch (error) {
    if (error.status === 0 || error.status >= 500) show(room, explain(error, begin));
    else leave(error.message);
  }
}

await begin();
