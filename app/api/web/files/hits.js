// The hits of a query, each with two thumbs.

import {call, pathOf} from "./api.js";
import {make, makeLink} from "./dom.js";

const LONG = 480, BEFORE = 120;

export function makeHits(hits, asked) {
  return make("ol", {class: "hits"}, hits.map((hit) => make("li", {}, makeHit(hit, asked))));
}

function makeHit(hit, asked) {
  const title = hit.title || hit.path || hit.uri;
  const headings = hit.headings.filter((one) => one !== title);
  const judge = makeThumbs(asked.collection, asked.query, hit.document_id, asked.grades.get(hit.document_id));
  return make("article", {class: "hit", tabindex: "-1", "aria-label": `Hit ${hit.rank}: ${title}`},
    make("header", {},
      make("span", {class: "rank", "aria-hidden": "true"}, String(hit.rank)),
      make("div", {class: "name"},
        make("h2", {dir: "auto"}, makeLink(hit.uri, title)),
        make("p", {class: "path", title: hit.uri}, make("bdi", {}, hit.path || hit.uri)),
        headings.length > 0 && make("p", {class: "headings"}, headings.map((one) => make("bdi", {}, one)))),
      make("span", {class: "score", title: "Score"}, formatScore(hit.score))),
    makeText(hit), judge);
}

const formatScore = (score) => Math.abs(score) >= 10 ? score.toFixed(1) : score.toPrecision(3);

// Spans count characters as Unicode does, not as JavaScript: an emoji is one.
function makeText(hit) {
  const letters = joinLines(Array.from(hit.text));
  const body = make("p", {class: "text", dir: "auto"});
  const first = hit.highlights.length ? hit.highlights[0][0] : 0;
  const begin = letters.length > LONG ? Math.max(0, Math.min(first - BEFORE, letters.length - LONG)) : 0;
  const end = letters.length > begin + LONG ? findGap(letters, begin + LONG) : letters.length;
  body.append(begin > 0 ? "… " : "", ...mark(letters, hit.highlights, begin, end), end < letters.length ? " …" : "");
  if (end - begin === letters.length) return body;
  const all = make("button", {type: "button", class: "quiet", onclick: () => {
    body.replaceChildren(...mark(letters, hit.highlights, 0, letters.length));
    all.remove();
  }}, "Show all of it");
  return make("div", {}, body, all);
}

// The end of the last word before `end`, if words have ends here.
function findGap(letters, end) {
  const gap = letters.lastIndexOf(" ", end);
  return gap > end - 40 ? gap : end;
}

// A line that ends where its editor was too narrow goes on; lists, tables and paragraphs stay as they are.
function joinLines(letters) {
  const goesOn = (at) => /[^\s`|]/.test(letters[at - 1] ?? " ") && /[\p{L}\p{N}("'“‘]/u.test(letters[at + 1] ?? "");
  return letters.map((letter, at) => letter === "\n" && goesOn(at) ? " " : letter);
}

function mark(letters, highlights, begin, end) {
  const parts = [];
  let at = begin;
  for (const [from, to] of highlights) {
    if (to <= at || from >= end) continue;
    const start = Math.max(from, at), stop = Math.min(to, end);
    parts.push(letters.slice(at, start).join(""), make("mark", {}, letters.slice(start, stop).join("")));
    at = stop;
  }
  parts.push(letters.slice(at, end).join(""));
  return parts;
}

// Two buttons; the one that is pressed takes the judgment back. `changed` hears the new grade.
export function makeThumbs(collection, query, documentId, grade, changed) {
  const trouble = make("span", {class: "trouble", role: "alert"});
  const buttons = [[1, "Relevant"], [0, "Not relevant"]].map(([value, name]) =>
    make("button", {type: "button", class: "thumb", "data-grade": String(value), "aria-label": name, title: name,
      onclick: () => set(value)}, make("span", {class: "sign", "aria-hidden": "true"})));
  const group = make("div", {class: "thumbs", role: "group", "aria-label": "Does this answer the query?"}, buttons, trouble);
  const isPressed = (value) => grade !== undefined && grade !== null && (value === 0 ? grade === 0 : grade > 0);
  const paint = () => {
    for (const button of buttons) {
      button.setAttribute("aria-pressed", String(isPressed(Number(button.dataset.grade))));
    }
  };
  async function set(value) {
    const wanted = isPressed(value) ? null : value;
    for (const button of buttons) button.disabled = true;
    trouble.textContent = "";
    try {
      await call("PUT", pathOf("collections", collection.id, "judgments"), {
        body: {query, document_id: documentId, grade: wanted},
      });
      grade = wanted;
      paint();
      changed?.(grade);
      window.dispatchEvent(new Event("judged"));
    } catch (error) {
      trouble.textContent = error.message;
    } finally {
      for (const button of buttons) button.disabled = false;
    }
  }
  paint();
  return group;
}

// j and k go from hit to hit; + and - judge the one they are at.
export function handleKey(key) {
  const hits = [...document.querySelectorAll(".hit")];
  const at = hits.indexOf(document.activeElement.closest(".hit"));
  if (key === "j" || key === "k") {
    const next = hits[Math.min(Math.max(at + (key === "j" ? 1 : -1), 0), hits.length - 1)];
    next?.focus();
    next?.scrollIntoView({block: "nearest"});
    return Boolean(next);
  }
  if (at < 0 || !["+", "-"].includes(key)) return false;
  hits[at].querySelector(`[data-grade="${key === "+" ? 1 : 0}"]`).click();
  return true;
}
