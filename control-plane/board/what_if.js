// The hit ratio by the size of the cache: a curve, and a slider along it.

import { board } from "./api.js";
import { element, empty, find, notice, percent, shape, show, table, whole } from "./dom.js";

const [WIDTH, HEIGHT, LEFT, BOTTOM, TOP] = [640, 240, 52, 30, 12];
// The slider is let go of before the API is asked.
const SETTLED = 300;

let curve = [];
let poll = null;
let timer = 0;
let slider = null;

const log = Math.log;
const across = (size) => LEFT + ((log(size) - log(curve[0].cache_size)) / (log(curve.at(-1).cache_size) - log(curve[0].cache_size))) * (WIDTH - LEFT - 10);
const up = (ratio) => HEIGHT - BOTTOM - (ratio / 100) * (HEIGHT - BOTTOM - TOP);

function mark(kind, size, ratio) {
  const x = across(Math.min(Math.max(size, curve[0].cache_size), curve.at(-1).cache_size));
  return [shape("line", { class: kind, x1: x, x2: x, y1: TOP, y2: HEIGHT - BOTTOM }), shape("circle", { class: "dot", cx: x, cy: up(ratio), r: 4 })];
}

function chart(answer) {
  const rows = [0, 25, 50, 75, 100].flatMap((ratio) => [
    shape("line", { class: "grid", x1: LEFT, x2: WIDTH - 10, y1: up(ratio), y2: up(ratio) }),
    shape("text", { x: LEFT - 6, y: up(ratio) + 4, "text-anchor": "end" }, `${ratio} %`),
  ]);
  const sizes = [100, 1_000, 10_000, 100_000, 1_000_000].filter((size) => size >= curve[0].cache_size && size <= curve.at(-1).cache_size);
  const columns = sizes.map((size) => shape("text", { x: across(size), y: HEIGHT - 10, "text-anchor": size === curve[0].cache_size ? "start" : "middle" }, whole(size)));
  const path = curve.map((point, at) => `${at ? "L" : "M"}${across(point.cache_size).toFixed(1)} ${up(point.hit_ratio).toFixed(1)}`).join("");
  const words = `Predicted hit ratio by responses per Envoy: from ${percent(curve[0].hit_ratio)} at ${whole(curve[0].cache_size)} to ${percent(curve.at(-1).hit_ratio)} at ${whole(curve.at(-1).cache_size)}`;
  return shape("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": words },
    rows, columns, shape("path", { class: "curve", d: path }), mark("mark", answer.predicted.cache_size, answer.predicted.hit_ratio));
}

const between = (part, name, end = " %") => `${part[name].toFixed(1)}${end} (${part[`${name}_low`].toFixed(1)} to ${part[`${name}_high`].toFixed(1)})`;

function ask(size) {
  clearTimeout(timer);
  timer = setTimeout(() => {
    poll?.stop();
    const query = size === null ? "" : `?cache_size=${size}`;
    poll = board.poll(`/cache/what-if${query}`, 30_000, ["cache"], draw);
  }, SETTLED);
}

function nearest(size) {
  return curve.reduce((best, point, at) => (Math.abs(log(point.cache_size / size)) < Math.abs(log(curve[best].cache_size / size)) ? at : best), 0);
}

const label = (size) => `Responses per Envoy: ${whole(size)}`;

function draw(answer) {
  const node = find("what-if");
  curve = answer.curve;
  if (answer.samples === 0 || curve.length < 2) {
    show(node, empty("No lookups have been seen yet: there is nothing to predict from."));
    slider = null;
    return;
  }
  const parts = { chart: node.querySelector("#what-if-chart"), rows: node.querySelector("#what-if-rows") };
  if (!slider) {
    const words = element("span", {});
    slider = element("input", {
      type: "range", min: 0, max: curve.length - 1, step: 1, value: nearest(answer.predicted.cache_size), id: "what-if-size",
      oninput: () => {
        const chosen = curve[Number(slider.value)].cache_size;
        words.textContent = label(chosen);
        slider.setAttribute("aria-valuetext", label(chosen));
        ask(chosen);
      },
    });
    parts.chart = element("div", { id: "what-if-chart" });
    parts.rows = element("div", { id: "what-if-rows", "aria-live": "polite" });
    show(node, parts.chart, element("label", { class: "wide" }, words, slider), parts.rows);
    words.textContent = label(answer.predicted.cache_size);
  }
  slider.max = curve.length - 1;
  show(parts.chart, chart(answer));
  const columns = [
    { name: "", of: ([name]) => name },
    { name: "Responses per Envoy", number: true, of: ([, part]) => whole(part.cache_size) },
    { name: "Hit ratio", number: true, of: ([, part]) => between(part, "hit_ratio") },
    { name: "Byte hit ratio", number: true, of: ([, part]) => between(part, "byte_hit_ratio") },
    { name: "Requests per second to the origin", number: true, of: ([, part]) => between(part, "origin_requests_per_second", "") },
  ];
  show(parts.rows,
    answer.enough ? null : notice(`Only ${whole(answer.samples)} lookups were sampled so far: do not go by this yet.`),
    table(`Predicted from ${whole(answer.samples)} sampled lookups; no size above ${whole(answer.knee)} wins a point more`, columns, [["in force", answer.present], ["with the size chosen", answer.predicted]]));
}

export function whatIf() {
  show(find("what-if"), empty("No data yet."));
  ask(null);
}
