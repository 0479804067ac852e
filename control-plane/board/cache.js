// What is stored, what hits were lost to, and the keys that matter.

import { board } from "./api.js";
import { MOST_ROWS, NO_DATA, empty, figure, find, percent, show, table, whole } from "./dom.js";
import { tile } from "./overview.js";

const UNITS = { hits: "Hits", bytes: "Bytes", saved_ms: "Milliseconds saved" };

let last = null;

function lost(answer) {
  const lookups = answer.routes.reduce((sum, route) => sum + route.requests, 0);
  const why = answer.not_used_because.slice(0, MOST_ROWS);
  show(find("lost-hits"),
    answer.lost_hits.length === 0
      ? empty(lookups ? `None in the last ${answer.window}.` : `No requests in the last ${answer.window}.`)
      : table(`Hits lost in the last ${answer.window}, the most first`, [
        { name: "Lost to", of: (one) => one.reason },
        { name: "Count", number: true, of: (one) => whole(one.count) },
        { name: "Points of the hit ratio", number: true, of: (one) => figure(one.points) },
        { name: "A hit if", long: true, of: (one) => one.a_hit_if },
      ], answer.lost_hits.slice(0, MOST_ROWS)),
    why.length === 0 ? null : table(`Why responses were not stored or not used, last ${answer.window}`, [
      { name: "Reason", of: (one) => one.reason },
      { name: "Count", number: true, of: (one) => whole(one.count) },
    ], why));
}

function top() {
  const by = find("top-by").value;
  const keys = last?.top_keys[by] ?? [];
  show(find("top-keys"), keys.length === 0
    ? empty(last ? "Nothing is counted yet." : "No data yet.")
    : table("Keys of most weight, as sampled", [
      { name: "URL", of: (key) => key.url, long: true },
      { name: UNITS[by], number: true, of: (key) => (key.error ? `${whole(key.count)} (at most ${whole(key.error)} too many)` : whole(key.count)) },
    ], keys.slice(0, MOST_ROWS)));
}

function stats(answer) {
  last = answer;
  const asked = answer.routes.some((route) => route.requests > 0);
  show(find("cache-tiles"), [
    tile("Hit ratio", asked ? percent(answer.hit_ratio) : NO_DATA, `last ${answer.window}`),
    tile("Responses stored", whole(answer.size), `of ${whole(answer.size_limit)} in all Envoys`),
    tile("Memory", `${figure(answer.memory_usage)} MB`, `of ${figure(answer.memory_limit)} MB`),
    tile("Evictions", whole(answer.recent_evictions), `last ${answer.window}; ${whole(answer.eviction_count)} since the start`),
    tile("Average age", answer.size ? answer.average_age : NO_DATA),
    answer.not_answered.length ? tile("Did not answer", whole(answer.not_answered.length), "Envoys") : null,
  ].filter(Boolean));
  lost(answer);
  top();
}

export function cache() {
  show(find("cache-tiles"), tile("Cache", NO_DATA));
  show(find("lost-hits"), empty("No data yet."));
  top();
  // Each Envoy is asked what it has stored: not often.
  board.poll("/cache/stats?window=5m", 15_000, ["cache"], stats);
  find("top-by").addEventListener("change", top);
}
