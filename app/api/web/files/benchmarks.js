// What was measured of a collection.

import {addressOf, call, pathOf} from "./api.js";
import {go, readAddress, writeAddress} from "./address.js";
import {command, fill, make, say} from "./dom.js";
import {makeTime} from "./words.js";

const PAGE = 20, MOST = 100;

export function showBenchmarks(room, {collection, signal}) {
  const limit = Math.min(Math.max(Number(readAddress().limit) || PAGE, 1), MOST);
  return fill(room, signal, "Reading", async () => {
    const {benchmarks} = await call("GET", pathOf("collections", collection.id, "benchmarks"), {query: {limit}, signal});
    if (!benchmarks.length) {
      return say("empty", "Nothing was measured yet.",
        make("p", {}, "Make a dataset of what you ", make("a", {href: writeAddress({view: "judged"})}, "judged"), ", or have queries made:"),
        command(`vecloom bench ${collection.name} --synthetic 200`));
    }
    const more = benchmarks.length === limit && limit < MOST && make("button", {
      type: "button", class: "more", onclick: () => go({limit: String(MOST)}),
    }, "More");
    const head = ["Dataset", "Best run", "Measure", "Conditions", "When", "Report"];
    return [make("table", {}, make("thead", {}, make("tr", {}, head.map((one) => make("th", {scope: "col"}, one)))),
      make("tbody", {}, benchmarks.map(makeRow))), more];
  });
}

function makeRow(one) {
  const primary = one.config.primary ?? "ndcg@10";
  const runs = one.runs.filter((run) => typeof run.metrics?.[primary] === "number");
  const best = runs.sort((a, b) => b.metrics[primary] - a.metrics[primary])[0];
  const report = addressOf(pathOf("benchmarks", one.benchmark_id, "report"), {format: "html"});
  const verdicts = one.verdicts.map((verdict) => `${verdict.condition ?? ""} ${verdict.verdict ?? verdict.outcome ?? ""}`.trim());
  return make("tr", {},
    make("td", {}, make("bdi", {}, one.dataset ?? "made of documents"), one.is_synthetic && make("span", {class: "soft"}, " synthetic")),
    make("td", {}, best ? make("bdi", {}, best.name) : make("span", {class: `state ${one.state}`}, one.error_code ?? one.state)),
    make("td", {class: "number"}, best ? `${primary} ${best.metrics[primary].toFixed(3)}` : "–"),
    make("td", {}, verdicts.map((verdict) => make("div", {}, verdict))),
    make("td", {class: "soft"}, makeTime(one.created_at)),
    make("td", {}, one.state === "completed" ? make("a", {href: report, target: "_blank", rel: "noopener noreferrer"}, "Open") : "–"));
}
