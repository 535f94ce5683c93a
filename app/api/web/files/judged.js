// What people judged, and what can be done with it.

import {addressOf, call, pathOf} from "./api.js";
import {writeAddress} from "./address.js";
import {command, fill, make, say, show} from "./dom.js";
import {makeThumbs} from "./hits.js";
import {count, makeTime} from "./words.js";

const PAGE = 50;

export function showJudged(room, {collection, signal}) {
  return fill(room, signal, "Reading", async () => {
    const root = pathOf("collections", collection.id, "judgments");
    const [counts, page] = await Promise.all([
      call("GET", `${root}/counts`, {signal}), call("GET", root, {query: {limit: PAGE}, signal}),
    ]);
    if (!counts.judgments) {
      return say("empty", "Nothing is judged yet.",
        make("p", {}, make("a", {href: writeAddress({view: "search"})}, "Search"), " and say of each hit whether it answers the query."));
    }
    return [makeSummary(collection, root, counts), makeTable(collection, root, page, signal)];
  });
}

function makeSummary(collection, root, counts) {
  const name = make("input", {
    id: "dataset", value: `${collection.name}-judged`.replace(/[^\w .-]/g, "-"), maxlength: "100", required: true,
    "aria-label": "Name of the dataset",
  });
  const told = make("div", {"aria-live": "polite"});
  const submit = async (event) => {
    event.preventDefault();
    try {
      const dataset = await call("POST", `${root}/dataset`, {body: {name: name.value}});
      show(told, say("done", `Dataset ${dataset.name} has ${count(dataset.queries, "query", "queries")}.`,
        "Measure how well they are answered:", command(`vecloom bench ${collection.name} --dataset ${dataset.name}`)));
    } catch (error) {
      show(told, say("error", error.message, `Code: ${error.code}`));
    }
  };
  return make("section", {class: "card"},
    make("p", {class: "figure"}, `${count(counts.queries, "judged query", "judged queries")}, ${count(counts.judgments, "judgment")}`),
    make("div", {class: "actions"},
      make("a", {class: "button", href: addressOf(root, {format: "trec"}), download: `${collection.name}.qrels`}, "Export qrels"),
      make("form", {class: "line", onsubmit: submit}, name, make("button", {type: "submit"}, "Make a dataset"))),
    told);
}

function makeTable(collection, root, page, signal) {
  const rows = make("tbody", {});
  const more = make("button", {type: "button", class: "more", onclick: () => load()}, "More");
  const trouble = make("p", {class: "trouble", role: "alert"});
  let next = null;
  const add = (found) => {
    rows.append(...found.judgments.map((one) => makeRow(collection, one)));
    next = found.next;
    more.hidden = next === null;
  };
  async function load() {
    trouble.textContent = "";
    try {
      add(await call("GET", root, {query: {limit: PAGE, after: next}, signal}));
    } catch (error) {
      if (!signal.aborted) trouble.textContent = error.message;
    }
  }
  add(page);
  return make("section", {},
    make("table", {}, make("thead", {}, make("tr", {}, ["Query", "Document", "Judgment", "When"].map((one) =>
      make("th", {scope: "col"}, one)))), rows), trouble, more);
}

const makeRow = (collection, one) => make("tr", {},
  make("td", {}, make("a", {href: writeAddress({view: "search", q: one.query}), dir: "auto"}, one.query)),
  make("td", {class: "path", title: one.uri}, make("bdi", {}, nameOf(one.uri))),
  make("td", {}, makeThumbs(collection, one.query, one.document_id, one.grade)),
  make("td", {class: "soft"}, makeTime(one.at)));

function nameOf(uri) {
  try {
    return decodeURIComponent(uri.split("/").slice(-2).join("/"));
  } catch {
    return uri;
  }
}
