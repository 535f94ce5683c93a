"use strict";
// One map, drawn on a canvas. Texts of documents reach the page as text nodes only.
(() => {
const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);
const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const numbers = (text, kind) => new kind(bytes(text).buffer);
const count = data.shown, is3d = data.dimensions === 3;
const axes = data.axes.map((axis) => {
  const read = numbers(axis, Uint16Array), values = new Float32Array(count);
  for (let i = 0; i < count; i++) values[i] = read[i] / 32767.5 - 1;
  return values;
});
const category = bytes(data.category), documentOf = numbers(data.document, Uint32Array);
const placed = bytes(data.placed), OTHER = 255, MANY = 6000, FEW_TOPICS = 60;
const colours = new Map(data.categories.map((one) => [one.index, one.colour]));
const hidden = new Set();
const canvas = byId("map"), pen = canvas.getContext("2d"), tip = byId("tip");
const screenX = new Float32Array(count), screenY = new Float32Array(count);
const view = {x: 0, y: 0, zoom: 1, yaw: 0.6, pitch: 0.35};
let width = 1, height = 1, ratio = 1, hovered = -1, kept = -1, matches = null, named = true, asked = false;

// the largest categories are painted first, so that small ones are not covered; *Other* lies below all
const order = Uint32Array.from({length: count}, (_, i) => i);
const sizes = new Map(data.categories.map((one) => [one.index, one.index === OTHER ? Infinity : one.count]));
order.sort((a, b) => (sizes.get(category[b]) - sizes.get(category[a])) || (category[a] - category[b]) || (a - b));

function rotate(x, y, z) {
  if (!is3d) return [x, -y];
  const cy = Math.cos(view.yaw), sy = Math.sin(view.yaw), cp = Math.cos(view.pitch), sp = Math.sin(view.pitch);
  return [x * cy + z * sy, -(y * cp - (z * cy - x * sy) * sp)];
}
const scale = () => Math.min(width, height) * 0.47 * (is3d ? 0.75 : 1) * view.zoom;
function toScreen(x, y, z) {
  const [rx, ry] = rotate(x, y, z || 0), s = scale();
  return [width / 2 + (rx - view.x) * s, height / 2 + (ry - view.y) * s];
}
function place() {
  const s = scale(), left = width / 2 - view.x * s, top = height / 2 - view.y * s;
  if (!is3d) {
    for (let i = 0; i < count; i++) { screenX[i] = left + axes[0][i] * s; screenY[i] = top - axes[1][i] * s; }
    return;
  }
  for (let i = 0; i < count; i++) {
    const [rx, ry] = rotate(axes[0][i], axes[1][i], axes[2][i]);
    screenX[i] = left + rx * s; screenY[i] = top + ry * s;
  }
}
const isShown = (i) => !hidden.has(category[i]);
const isOnScreen = (i) => screenX[i] > -9 && screenY[i] > -9 && screenX[i] < width + 9 && screenY[i] < height + 9;
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function paint() {
  asked = false;
  place();
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.fillStyle = style("--page");
  pen.fillRect(0, 0, width, height);
  let visible = 0;
  for (let i = 0; i < count; i++) if (isOnScreen(i)) visible++;
  const radius = Math.max(1.2, Math.min(7, 2.9 * Math.sqrt(Math.min(view.zoom, 9)) * Math.pow(2000 / Math.max(count, 1), 0.22)));
  const round = visible <= MANY;
  let last = -1;
  for (const i of order) {
    if (!isShown(i) || !isOnScreen(i)) continue;
    if (category[i] !== last) { last = category[i]; pen.fillStyle = colours.get(last); }
    pen.globalAlpha = matches && !matches.has(i) ? 0.08 : category[i] === OTHER ? 0.45 : 0.75;
    if (round) { pen.beginPath(); pen.arc(screenX[i], screenY[i], radius, 0, 6.2832); pen.fill(); }
    else pen.fillRect(screenX[i] - radius * 0.9, screenY[i] - radius * 0.9, radius * 1.8, radius * 1.8);
  }
  pen.globalAlpha = 1;
  if (matches) for (const i of matches) if (isShown(i) && isOnScreen(i)) ring(i, radius + 1.5, 1.2);
  if (named) paintLabels();
  if (hovered >= 0) ring(hovered, radius + 3, 2);
  if (kept >= 0) ring(kept, radius + 5, 2.5);
}
function ring(i, radius, thick) {
  pen.beginPath(); pen.arc(screenX[i], screenY[i], radius, 0, 6.2832);
  pen.lineWidth = thick; pen.strokeStyle = style("--text"); pen.stroke();
}
function ask() { if (!asked) { asked = true; requestAnimationFrame(paint); } }

// Countries from afar, provinces from near; a label that would cover another one moves a little, or waits.
function paintLabels() {
  const level = view.zoom < 1.8 ? 0 : 1, taken = [];
  const page = style("--page"), text = style("--text");
  pen.textAlign = "center"; pen.textBaseline = "middle"; pen.lineJoin = "round";
  for (const one of data.clusters) {
    if (one.level !== level || !one.lines.length) continue;
    const [x, y] = toScreen(one.x, one.y, one.z);
    if (x < 0 || y < 0 || x > width || y > height) continue;
    const big = level === 0 ? 15 : 13, fonts = one.lines.map((_, n) => n ? `${big - 3}px system-ui, sans-serif` : `600 ${big}px system-ui, sans-serif`);
    const wide = Math.max(...one.lines.map((line, n) => { pen.font = fonts[n]; return pen.measureText(line).width; })) / 2 + 3;
    const high = (one.lines.length * (big + 1)) / 2 + 2;
    const at = [0, -1, 1, -2, 2].map((step) => [Math.min(Math.max(x, wide), width - wide), Math.min(Math.max(y + step * high * 0.8, high), height - high)])
      .find(([cx, cy]) => !taken.some((box) => Math.abs(box[0] - cx) < box[2] + wide && Math.abs(box[1] - cy) < box[3] + high));
    if (!at) continue;
    taken.push([at[0], at[1], wide, high]);
    one.lines.forEach((line, n) => {
      const ly = at[1] + (n - (one.lines.length - 1) / 2) * (big + 1);
      pen.font = fonts[n];
      pen.lineWidth = 4; pen.strokeStyle = page; pen.globalAlpha = 0.85; pen.strokeText(line, at[0], ly);
      pen.fillStyle = text; pen.globalAlpha = 1; pen.fillText(line, at[0], ly);
    });
  }
}

function nearest(x, y, reach) {
  let best = -1, least = reach * reach;
  for (let i = 0; i < count; i++) {
    const dx = screenX[i] - x, dy = screenY[i] - y, far = dx * dx + dy * dy;
    if (far < least && isShown(i)) { least = far; best = i; }
  }
  return best;
}
function element(kind, text, parent) {
  const made = document.createElement(kind);
  made.textContent = text; made.dir = "auto";
  parent.append(made);
  return made;
}
function describe(box, i) {
  box.replaceChildren();
  const [title, uri] = data.documents[documentOf[i]] || ["", ""];
  if (title || uri) element("b", title || uri, box);
  if (data.previews[i]) element("div", data.previews[i], box);
  const found = data.categories.find((one) => one.index === category[i]);
  const notes = [found ? found.name : "", uri && title ? uri : "", placed[i] ? "placed by its neighbours" : ""];
  for (const note of notes) if (note) element("div", "", box).append(element("span", note, box));
}
function hover(i, x, y) {
  if (i !== hovered) { hovered = i; ask(); }
  canvas.classList.toggle("points", i >= 0);
  tip.hidden = i < 0;
  if (i < 0) return;
  describe(tip, i);
  tip.style.left = `${x + tip.offsetWidth + 20 > width ? Math.max(0, x - tip.offsetWidth - 14) : x + 14}px`;
  tip.style.top = `${Math.max(0, Math.min(y + 14, height - tip.offsetHeight - 6))}px`;
}
function keep(i) {
  kept = i;
  byId("detail").hidden = i < 0;
  if (i >= 0) describe(byId("detail"), i);
  ask();
}
function goTo(x, y, z, zoom) {
  [view.x, view.y] = rotate(x, y, z || 0);
  view.zoom = Math.max(view.zoom, zoom);
  ask();
}
const goToPoint = (i, zoom) => goTo(axes[0][i], axes[1][i], is3d ? axes[2][i] : 0, zoom);
function zoomAt(x, y, factor) {
  const before = scale(), next = Math.min(400, Math.max(0.5, view.zoom * factor));
  view.zoom = next;
  view.x += (x - width / 2) * (1 / before - 1 / scale());
  view.y += (y - height / 2) * (1 / before - 1 / scale());
  ask();
}
function showAll() { view.x = view.y = 0; view.zoom = 1; ask(); }

const fingers = new Map();
let moved = 0, spread = 0;
canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  fingers.set(event.pointerId, [event.offsetX, event.offsetY]);
  moved = 0; spread = 0;
});
canvas.addEventListener("pointermove", (event) => {
  const {offsetX: x, offsetY: y} = event, before = fingers.get(event.pointerId);
  if (!before) return hover(nearest(x, y, 12), x, y);
  fingers.set(event.pointerId, [x, y]);
  const dx = x - before[0], dy = y - before[1];
  moved += Math.abs(dx) + Math.abs(dy);
  if (fingers.size === 2) {
    const [one, other] = [...fingers.values()], now = Math.hypot(one[0] - other[0], one[1] - other[1]);
    if (spread) zoomAt((one[0] + other[0]) / 2, (one[1] + other[1]) / 2, now / spread);
    spread = now;
  } else if (is3d && !event.shiftKey) {
    view.yaw += dx * 0.008; view.pitch = Math.max(-1.5, Math.min(1.5, view.pitch + dy * 0.008));
  } else { view.x -= dx / scale(); view.y -= dy / scale(); }
  canvas.classList.add("drags"); hover(-1); ask();
});
const lift = (event) => {
  if (fingers.delete(event.pointerId) && event.type === "pointerup" && moved < 5) keep(nearest(event.offsetX, event.offsetY, 12));
  spread = 0; canvas.classList.remove("drags");
};
canvas.addEventListener("pointerup", lift);
canvas.addEventListener("pointercancel", lift);
canvas.addEventListener("pointerleave", () => { if (!fingers.size) hover(-1); });
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoomAt(event.offsetX, event.offsetY, Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)));
}, {passive: false});
canvas.addEventListener("dblclick", (event) => zoomAt(event.offsetX, event.offsetY, 2));

let walk = [];
function step() {
  if (!walk.length) {
    walk = [...order].filter((i) => isShown(i) && isOnScreen(i) && (!matches || matches.has(i)))
      .sort((a, b) => Math.hypot(screenX[a] - width / 2, screenY[a] - height / 2) - Math.hypot(screenX[b] - width / 2, screenY[b] - height / 2)).slice(0, 200);
  }
  if (walk.length) keep(walk.shift());
}
const moves = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") { byId("query").value = ""; find(""); keep(-1); canvas.focus(); return; }
  if (event.target === byId("query")) return;
  const move = event.target === canvas && moves[event.key];
  if (move) { view.x += move[0] * 60 / scale(); view.y += move[1] * 60 / scale(); walk = []; ask(); }
  else if (event.key === "+" || event.key === "=") zoomAt(width / 2, height / 2, 1.4);
  else if (event.key === "-") zoomAt(width / 2, height / 2, 1 / 1.4);
  else if (event.key === "0") showAll();
  else if (event.key === "/") byId("query").focus();
  else if (event.key === "n" || event.key === "N") step();
  else if (event.key === "l" || event.key === "L") byId("names").click();
  else if (event.key === "d" || event.key === "D") byId("theme").click();
  else return;
  event.preventDefault();
});

const fold = (text) => text.toLowerCase().normalize("NFKD").replace(/\p{M}/gu, "");
let folded = null;
function find(query) {
  const words = fold(query).split(/\s+/).filter(Boolean);
  walk = [];
  byId("hits").replaceChildren();
  if (!words.length) { matches = null; byId("found").textContent = ""; return ask(); }
  folded ||= data.previews.map((text, i) => fold(`${(data.documents[documentOf[i]] || []).join(" ")} ${text}`));
  matches = new Set();
  for (let i = 0; i < count; i++) if (words.every((word) => folded[i].includes(word))) matches.add(i);
  byId("found").textContent = matches.size === 1 ? "1 point" : `${matches.size.toLocaleString("en")} points`;
  for (const i of [...matches].slice(0, 20)) {
    const [title, uri] = data.documents[documentOf[i]] || ["", ""], button = element("button", "", element("li", "", byId("hits")));
    button.type = "button";
    element("bdi", title || uri || data.previews[i].slice(0, 80), button);
    button.addEventListener("click", () => { keep(i); goToPoint(i, 4); });
  }
  ask();
}
let later = 0;
byId("query").addEventListener("input", (event) => { clearTimeout(later); later = setTimeout(() => find(event.target.value), 120); });
byId("search").addEventListener("submit", (event) => { event.preventDefault(); find(byId("query").value); byId("hits").querySelector("button")?.click(); });

function listLegend() {
  byId("legend-name").textContent = `Colour: ${data.colourBy}`;
  for (const one of data.categories) {
    const button = element("button", "", element("li", "", byId("legend")));
    button.type = "button"; button.setAttribute("aria-pressed", "true");
    element("i", "", button).style.background = one.colour;
    element("bdi", one.name, button);
    element("small", one.count.toLocaleString("en"), button);
    button.title = "Click hides or shows it; double click shows it alone";
    const sync = () => byId("legend").querySelectorAll("button").forEach((each, n) => each.setAttribute("aria-pressed", String(!hidden.has(data.categories[n].index))));
    button.addEventListener("click", () => { if (!hidden.delete(one.index)) hidden.add(one.index); walk = []; sync(); ask(); });
    button.addEventListener("dblclick", () => {
      const alone = hidden.size === data.categories.length - 1 && !hidden.has(one.index);
      hidden.clear();
      if (!alone) for (const other of data.categories) if (other !== one) hidden.add(other.index);
      sync(); ask();
    });
  }
}
function listTopics() {
  const topics = data.clusters.filter((one) => one.level === 1 && one.lines.length).slice(0, FEW_TOPICS);
  byId("topics").hidden = !topics.length;
  for (const one of topics) {
    const button = element("button", "", element("li", "", byId("topic-list")));
    button.type = "button";
    element("bdi", one.lines.join(", "), button);
    element("small", one.size.toLocaleString("en"), button);
    button.addEventListener("click", () => goTo(one.x, one.y, one.z, 3));
  }
}
function setTheme(name) { document.documentElement.dataset.theme = name; ask(); }
const dark = matchMedia("(prefers-color-scheme: dark)");
dark.addEventListener("change", () => setTheme(dark.matches ? "dark" : "light"));
byId("theme").addEventListener("click", () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
byId("all").addEventListener("click", showAll);
byId("names").addEventListener("click", () => { named = !named; byId("names").setAttribute("aria-pressed", String(named)); ask(); });

function resize() {
  const box = canvas.getBoundingClientRect();
  width = Math.max(1, box.width); height = Math.max(1, box.height); ratio = Math.min(devicePixelRatio || 1, 2);
  canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio);
  ask();
}
new ResizeObserver(resize).observe(canvas);
byId("facts").textContent = data.facts;
byId("empty").hidden = count > 0;
listLegend(); listTopics(); setTheme(dark.matches ? "dark" : "light"); resize();
})();
