// What there is at a glance: figures of the last minute, latency, errors, and what is wrong.

import { board } from "./api.js";
import { NO_DATA, duration, empty, figure, find, notice, percent, shape, element, show, table, whole } from "./dom.js";

// Points of the small charts: two minutes at one a second.
const POINTS = 120;
const seen = { requests: [], hits: [], p95: [] };

function keep(list, value) {
  list.push(value);
  if (list.length > POINTS) list.shift();
}

// A small chart of what was seen since the page was opened. Where there were no requests there is no line.
function spark(list, from = 0, to = null) {
  const known = list.filter((value) => value !== null);
  if (known.length < 2) return null;
  const top = to ?? Math.max(...known, from + 1e-9);
  const parts = [];
  let on = false;
  list.forEach((value, at) => {
    if (value !== null) parts.push(`${on ? "L" : "M"}${at} ${(30 - ((value - from) / (top - from)) * 28).toFixed(1)}`);
    on = value !== null;
  });
  return shape("svg", { viewBox: `0 0 ${POINTS} 32`, preserveAspectRatio: "none", "aria-hidden": "true" }, shape("path", { class: "spark", d: parts.join("") }));
}

export function tile(name, value, small = null, chart = null) {
  return element("div", {}, element("dt", {}, name), element("dd", {}, value, small === null ? null : element("small", {}, small), chart));
}

// The key figures, each second.
export function figures(seconds) {
  const { sample_count: requests, lookup_count: lookups } = seconds;
  keep(seen.requests, seconds.requests_per_second);
  keep(seen.hits, lookups ? seconds.cache_hit_ratio : null);
  keep(seen.p95, requests ? seconds.p95_latency : null);
  const none = "no requests in the last minute";
  show(find("tiles"), [
    tile("Requests per second", requests ? figure(seconds.requests_per_second) : NO_DATA, requests ? `${whole(requests)} in ${seconds.covered}` : none, spark(seen.requests)),
    tile("Hit ratio", lookups ? percent(seconds.cache_hit_ratio) : NO_DATA, lookups ? `of ${whole(lookups)} lookups` : none, spark(seen.hits, 0, 100)),
    tile("p95 latency", requests ? duration(seconds.p95_latency) : NO_DATA, requests ? `p99 ${duration(seconds.p99_latency)}` : none, spark(seen.p95)),
    tile("Failed or shed", requests ? percent(seconds.error_rate) : NO_DATA, requests ? `${whole(seconds.outcomes.error ?? 0)} failed, ${whole(seconds.outcomes.shed ?? 0)} shed` : none),
    tile("Time saved per request", lookups ? duration(seconds.latency_saved) : NO_DATA, "on average, by the cache"),
    tile("Breakers, the worst", seconds.circuit_breaker_state.replaceAll("_", "-")),
    tile("Stored", `${figure(seconds.cache_memory_usage)} MB`, `evictions: ${figure(seconds.eviction_rate)} per second`),
    tile("Envoys", whole(seconds.envoys), "behind these figures"),
  ]);
  latency(seconds);
}

function latency(seconds) {
  const kinds = [["all", ""], ["hits", "_hit"], ["misses", "_miss"], ["forwarded", "_forwarded"]];
  const rows = kinds.map(([name, end]) => ({ name, end, count: seconds[`sample_count${end}`] }));
  const quantile = (q) => ({ name: `p${q}`, number: true, of: (row) => (row.count ? duration(seconds[`p${q}_latency${row.end}`]) : "–") });
  const count = { name: "Requests", number: true, of: (row) => whole(row.count) };
  show(find("latency"), seconds.sample_count
    ? table(`Latency by what answered, last ${seconds.covered}`, [{ name: "Answer", of: (row) => row.name }, ...[50, 90, 95, 99].map(quantile), count], rows)
    : empty("No requests in the last minute."));
}

function errors(answer) {
  if (answer.requests === 0) {
    show(find("errors"), empty(`No requests in the last ${answer.window}.`));
    return;
  }
  const kinds = Object.entries(answer.errors_by_type).filter(([, count]) => count > 0).sort((a, b) => b[1] - a[1]);
  const of = `of ${whole(answer.requests)} requests, last ${answer.covered}`;
  show(find("errors"), kinds.length === 0
    ? empty(`None ${of}.`)
    : table(`Failures ${of}`, [
      { name: "Type", of: ([type]) => type },
      { name: "Count", number: true, of: ([, count]) => whole(count) },
      { name: "Upstreams", long: true, of: ([type]) => answer.details[type]?.upstreams.join(", ") ?? "" },
    ], kinds));
}

function health(answer) {
  const wrong = Object.entries(answer.components).filter(([, part]) => part.status !== "healthy");
  show(find("troubles"), wrong.map(([name, part]) => notice(`${name}: ${part.status}: ${part.reason}`, part.status === "unhealthy")));
}

export function overview() {
  show(find("tiles"), tile("Figures", NO_DATA));
  show(find("latency"), empty("No data yet."));
  show(find("errors"), empty("No data yet."));
  board.poll("/health", 10_000, ["overview"], health);
  board.poll("/metrics/errors", 10_000, ["overview"], errors);
}
