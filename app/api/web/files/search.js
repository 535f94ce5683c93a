// Search, and judge what was found.

import {call, pathOf} from "./api.js";
import {go, readAddress} from "./address.js";
import {command, fill, make, say} from "./dom.js";
import {makeHits} from "./hits.js";
import {count} from "./words.js";

const MODES = [["hybrid", "Meaning and words"], ["dense", "Meaning"], ["bm25", "Words"]];
const PAGE = 10, MOST = 100, LONGEST_QUERY = 4096;

export function showSearch(room, {collection, signal}) {
  const {q = "", mode, limit: said} = readAddress();
  // a form that is there stays, with the person in it
  const form = room.querySelector("form.search") ?? makeForm();
  const answer = make("section", {"aria-label": "Hits"});
  if (form.isConnected) form.nextElementSibling.replaceWith(answer);
  else room.replaceChildren(form, answer);
  form.elements.q.value = q;
  form.elements.mode.value = MODES.some(([name]) => name === mode) ? mode : "hybrid";
  const limit = Math.min(Math.max(Number(said) || PAGE, 1), MOST);
  if (q.trim()) return fill(answer, signal, "Searching", () => search(collection, q.trim(), mode, limit, signal));
  answer.replaceChildren(collection.chunks ? sayHow() : sayEmpty(collection));
  return null;
}

function makeForm() {
  const query = make("input", {
    id: "query", type: "search", name: "q", maxlength: String(LONGEST_QUERY), autocomplete: "off",
    placeholder: "What are you looking for?", "aria-label": "Query", "aria-keyshortcuts": "/", dir: "auto",
  });
  const choices = MODES.map(([name, title]) => make("label", {class: "mode"},
    make("input", {type: "radio", name: "mode", value: name}), make("span", {}, title)));
  const submit = (event) => {
    event?.preventDefault();
    go({q: query.value.trim(), mode: form.elements.mode.value, limit: ""});
  };
  const form = make("form", {class: "search", role: "search", onsubmit: submit},
    make("div", {class: "line"}, query, make("button", {class: "main", type: "submit"}, "Search")),
    make("fieldset", {class: "modes", onchange: () => query.value.trim() && submit()},
      make("legend", {class: "hidden"}, "Search by"), choices));
  return form;
}

async function search(collection, query, mode, limit, signal) {
  const judgments = call("POST", pathOf("collections", collection.id, "judgments", "mine"), {body: {query}, signal});
  const [found, judged] = await Promise.all([
    call("POST", pathOf("collections", collection.id, "search"), {body: {query, mode, limit}, signal}), judgments,
  ]);
  if (!found.hits.length && !collection.chunks) return sayEmpty(collection);
  if (!found.hits.length) {
    return say("empty", "Nothing was found.", mode === "bm25" ?
      "No document has these words. Search by meaning finds what is said in others." : "Try other words, or fewer.");
  }
  const grades = new Map(judged.judgments.map((one) => [one.document_id, one.grade]));
  const more = found.hits.length === limit && limit < MOST && make("button", {
    type: "button", class: "more", onclick: () => go({limit: String(Math.min(limit + 20, MOST))}),
  }, "More hits");
  return [
    make("p", {class: "soft summary", role: "status"}, `${count(found.hits.length, "hit")} in ${Math.round(found.took_ms)} ms`,
      make("span", {class: "keys"}, " · ", make("kbd", {}, "/"), " query, ", make("kbd", {}, "j"), " ", make("kbd", {}, "k"),
        " next and previous, ", make("kbd", {}, "+"), " ", make("kbd", {}, "−"), " judge")),
    makeHits(found.hits, {collection, query, grades}), more,
  ];
}

const sayEmpty = (collection) => say("empty", "There is nothing to search yet.",
  collection.busy ? "An operation is filling this collection: see Operations." : "Index a folder:",
  !collection.busy && command(`vecloom index FOLDER --collection ${collection.name}`));

const sayHow = () => say("empty", "Ask in your own words.",
  "Mark each hit as relevant or not: that is how you measure, later, whether search got better or worse.");
