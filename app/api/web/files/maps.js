// Maps of a collection. Each opens as a page of its own, which cannot reach this server.

import {addressOf, call, pathOf} from "./api.js";
import {go, readAddress, writeAddress} from "./address.js";
import {fill, make, say} from "./dom.js";
import {listen} from "./live.js";
import {STALE, count, makeTime} from "./words.js";

const PAGE = 12, MOST = 200;
const METHODS = {umap: "UMAP", tsne: "t-SNE", pca: "PCA"};

export function showMaps(room, {collection, signal}) {
  const limit = Math.min(Math.max(Number(readAddress().limit) || PAGE, 1), MOST);
  const load = async () => {
    const {projections} = await call("GET", pathOf("collections", collection.id, "projections"), {query: {limit}, signal});
    const list = projections.length ? make("ul", {class: "maps"}, projections.map((one) => make("li", {class: "card"}, describe(one)))) :
      say("empty", "There is no map yet.", "A map shows what lies together in a collection, and what stands apart.");
    const more = projections.length === limit && limit < MOST && make("button", {
      type: "button", class: "more", onclick: () => go({limit: String(Math.min(limit * 2, MOST))}),
    }, "More");
    return [makeDraw(collection, () => again()), list, more];
  };
  const again = () => fill(room, signal, "Reading", load);
  listen((event) => {
    const isMap = event?.collection_id === collection.id && event.type.startsWith("projection_") && !event.type.endsWith("_progress");
    const isEnd = event?.collection_id === collection.id && /^operation_(completed|failed|cancelled)$/.test(event.type);
    if (isMap || isEnd) again();
  }, signal);
  return again();
}

function makeDraw(collection, drawn) {
  const told = make("span", {role: "status"});
  const draw = async ({target}) => {
    target.disabled = true;
    try {
      const begun = await call("POST", pathOf("collections", collection.id, "projections"), {body: {}});
      if (begun.operation_id && begun.kind) {
        told.replaceChildren("It is being drawn: see ", make("a", {href: writeAddress({view: "operations"})}, "Operations"), ".");
      } else {
        told.textContent = "The newest map is still right.";
        drawn();
      }
    } catch (error) {
      told.textContent = error.message;
    }
    target.disabled = false;
  };
  return make("p", {class: "actions"}, make("button", {type: "button", onclick: draw}, "Draw a map"), told);
}

function describe(one) {
  const files = (name) => addressOf(pathOf("projections", one.projection_id, "files", name));
  const title = `${METHODS[one.config.method] ?? one.config.method} in ${one.config.dimensions} dimensions`;
  const isThere = one.state === "completed" && "map.html" in one.files;
  const facts = [one.points !== null && count(one.points, "point"), one.config.colour_by && `coloured by ${one.config.colour_by.replace("_", " ")}`];
  return [
    isThere && "map.png" in one.files && make("img", {src: files("map.png"), alt: "", loading: "lazy"}),
    make("h2", {}, isThere ? make("a", {href: files("map.html"), target: "_blank", rel: "noopener noreferrer"}, title) : title),
    make("p", {class: "soft"}, facts.filter(Boolean).join(" · "), " · ", makeTime(one.created_at)),
    one.state !== "completed" && make("p", {class: one.state === "failed" ? "trouble" : ""}, one.error_code ? `${one.state}: ${one.error_code}` : one.state),
    one.stale && make("p", {class: "stale"}, `Out of date: ${STALE[one.stale] ?? one.stale}.`),
  ].filter(Boolean);
}
