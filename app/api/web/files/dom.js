// Makes elements. Texts become text nodes, never HTML: documents are texts of strangers.

export function make(tag, properties, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export function show(room, ...children) {
  room.replaceChildren(...children.flat().filter(Boolean));
}

// What a document says its address is may be anything; only web addresses become links.
export function makeLink(uri, text) {
  const isWeb = /^https?:\/\//i.test(uri);
  if (!isWeb) return make("span", {}, text);
  return make("a", {href: uri, target: "_blank", rel: "noopener noreferrer"}, text);
}

export function say(kind, title, ...details) {
  const role = kind === "error" ? "alert" : "status";
  return make("div", {class: `notice ${kind}`, role}, make("strong", {}, title), ...details.map((one) =>
    typeof one === "string" ? make("p", {}, one) : one));
}

export const command = (text) => make("pre", {class: "command"}, make("code", {}, text));

export function makeLoading(what) {
  return make("div", {class: "loading", role: "status"}, `${what}…`);
}

// Shows a room's content once it is there, or why it is not; nothing, if the person has gone on meanwhile.
export async function fill(room, signal, what, work) {
  const waiting = setTimeout(() => show(room, makeLoading(what)), 150);
  try {
    const found = await work();
    if (!signal.aborted) show(room, found);
  } catch (error) {
    if (!signal.aborted) show(room, explain(error, () => fill(room, signal, what, work)));
  } finally {
    clearTimeout(waiting);
  }
}

export function explain(error, again) {
  const retry = again && make("button", {type: "button", onclick: again}, "Try again");
  if (!error.code) console.error(error);
  return say("error", error.code ? error.message : "This page has a bug.", error.code ? `Code: ${error.code}` : String(error), retry || "");
}
