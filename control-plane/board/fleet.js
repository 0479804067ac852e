// The Envoys, and which settings they run on.

import { board } from "./api.js";
import { Listing, counted, duration, element, find, show, whole } from "./dom.js";

// What keeps an Envoy from the settings in force: the worst first.
function rank(envoy) {
  if (envoy.refused) return 0;
  if (!envoy.connected) return 1;
  return envoy.behind > 0 ? 2 : 3;
}

function state(envoy) {
  if (!envoy.connected) return element("span", { class: "warn" }, `away for ${duration(envoy.silent_for_ms)}`);
  return element("span", { class: "good" }, "connected");
}

function settings(envoy) {
  if (envoy.refused) {
    const found = envoy.refused.violations.map((one) => `${one.path}: ${one.message}`).join("; ");
    return element("span", { class: "bad" }, `refuses ${envoy.refused.revision}: ${found}`);
  }
  if (envoy.behind > 0) return element("span", { class: "warn" }, `${whole(envoy.behind)} behind`);
  return envoy.ignored.length ? `in force; does not know ${envoy.ignored.join(", ")}` : "in force";
}

function rollout(answer) {
  const { envoys, revision, stragglers } = answer;
  const words = [
    `Revision ${revision} is in force on ${whole(envoys.filter((one) => one.behind === 0 && !one.refused).length)} of ${counted(envoys.length, "connected Envoys")}`,
    answer.canary === null ? null : `revision ${answer.canary} is on trial`,
    stragglers.length ? `${whole(stragglers.length)} lag behind` : null,
    answer.xds.envoys.length ? `by xDS ${answer.xds.complete ? "complete" : "not complete"}` : null,
  ];
  show(find("rollout"), `${words.filter(Boolean).join("; ")}.`);
}

export function fleet() {
  const listing = new Listing(find("envoys"), {
    caption: "Envoys, those with trouble first",
    what: "Envoys",
    none: "No Envoy has connected yet.",
    text: (envoy) => `${envoy.envoy} ${envoy.node_id} ${envoy.version} ${envoy.revision} ${envoy.connected ? "connected" : "away"}`,
    columns: [
      { name: "Node", of: (envoy) => envoy.node_id, long: true },
      { name: "Instance", of: (envoy) => envoy.envoy },
      { name: "State", of: state },
      { name: "Revision", number: true, of: (envoy) => envoy.revision ?? "–" },
      { name: "Settings", long: true, of: settings },
      { name: "In force after", number: true, of: (envoy) => (envoy.lag_ms === null ? "–" : duration(envoy.lag_ms)) },
      { name: "Filter", of: (envoy) => envoy.version },
      { name: "Workers", number: true, of: (envoy) => envoy.workers },
    ],
  });
  board.poll("/fleet", 5_000, ["fleet"], (envoys) => {
    const sorted = envoys.sort((a, b) => rank(a) - rank(b) || a.node_id.localeCompare(b.node_id));
    listing.update(sorted);
  });
  board.poll("/settings/rollout", 5_000, ["fleet"], rollout);
}
