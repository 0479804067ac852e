// What is stored, what hits were lost to, the keys that matter, and a snapshot to download.

import { board, send } from "./api.js";
import { MOST_ROWS, NO_DATA, act, confirmed, element, empty, figure, find, percent, show, table, whole } from "./dom.js";
import { tile } from "./overview.js";

// A snapshot takes as long as the Envoys take to give out what they have.
const SNAPSHOT_TIMEOUT = 60_000;
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

async function download(button) {
  const result = find("snapshot-result");
  if (!await confirmed("Download a snapshot?", element("p", {}, "It holds the responses as users were sent them. Keep it as you keep their data."))) return;
  show(result, "The Envoys are asked …");
  const query = new URLSearchParams({ max_mb: find("snapshot-mb").value || "64" });
  const host = find("snapshot-host").value.trim();
  if (host) query.set("host", host);
  const response = await send("POST", `/cache/snapshot?${query}`, { timeout: SNAPSHOT_TIMEOUT });
  const blob = await response.blob();
  // Whether it is complete stands at its end.
  const end = await blob.slice(-4096).text();
  const address = URL.createObjectURL(blob);
  element("a", { href: address, download: `snapshot-${new Date().toISOString().replace(/[:.]/g, "-")}.json` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
  const count = /"count":(\d+)/.exec(end)?.[1];
  const because = /"incomplete_because":"([^"]*)"/.exec(end)?.[1];
  const complete = /"complete":true/.test(end);
  show(result, `${count ? `${whole(Number(count))} responses` : "A snapshot"}, ${whole(blob.size)} bytes: ${complete ? "complete" : `not complete${because ? `: ${because}` : ""}`}.`);
  button.focus();
}

export function cache() {
  show(find("cache-tiles"), tile("Cache", NO_DATA));
  show(find("lost-hits"), empty("No data yet."));
  top();
  // Each Envoy is asked what it has stored: not often.
  board.poll("/cache/stats?window=5m", 15_000, ["cache"], stats);
  find("top-by").addEventListener("change", top);
  find("snapshot").addEventListener("submit", (event) => {
    event.preventDefault();
    act(event.submitter, find("snapshot-result"), () => download(event.submitter));
  });
}
