// Circuit breakers with their evidence, and operators' overrides.

import { board, document_of } from "./api.js";
import { Listing, act, clock, confirmed, counted, duration, element, empty, find, moment, percent, show, table, whole } from "./dom.js";

// The worst first; what this page does not know comes before what is well.
const ORDER = { open: 0, forced_open: 0, half_open: 1, closed: 3 };
const order = (breaker) => ORDER[breaker.state] ?? 2;

function state(breaker) {
  const kind = { open: "bad", forced_open: "bad", closed: "good" }[breaker.state] ?? "warn";
  const forced = breaker.state === breaker.judged ? "" : ` (judged ${breaker.judged.replaceAll("_", "-")})`;
  return element("span", { class: kind }, breaker.state.replaceAll("_", "-") + forced);
}

function evidence(breaker) {
  const limits = breaker.thresholds;
  const said = breaker.calls
    ? `${whole(breaker.failures)} of ${whole(breaker.calls)} calls failed (${percent(breaker.failure_rate)}), ${whole(breaker.slow_calls)} slow`
    : "no calls in the window";
  const opened = breaker.opened_on;
  return [
    said,
    limits ? `; opens at ${limits.failure_rate} % of ${whole(limits.minimum_calls)} or more in ${duration(limits.window_ms)}` : "",
    opened ? `. Opened on ${whole(opened.failures)} of ${whole(opened.calls)} failed (${percent(opened.failure_rate)}), ${whole(opened.slow_calls)} slow, ${whole(opened.connect_failures_in_a_row)} connects in a row` : "",
    breaker.next_probe && breaker.state !== "closed" ? `. Next probe ${clock(breaker.next_probe)}` : "",
  ].join("");
}

const until = (one) => (one.until ? `until ${moment(one.until)}` : "until it is reset");

async function put(upstream, action, expires, reason) {
  const query = new URLSearchParams();
  if (expires && action !== "reset") query.set("expires_in", expires);
  if (reason) query.set("reason", reason);
  const answer = await document_of("POST", `/circuit-breaker/${encodeURIComponent(upstream)}/${action}?${query}`);
  board.changed("/circuit-breaker");
  const rest = [
    answer.not_on.length ? `${whole(answer.not_on.length)} did not take it in time` : null,
    answer.told_elsewhere.length ? `${whole(answer.told_elsewhere.length)} were told by other replicas` : null,
    answer.away.length ? `${whole(answer.away.length)} are away and are told when they return` : null,
  ];
  return [`${upstream}: ${action} is in force on ${counted(answer.in_force_on, "Envoys")}`, ...rest].filter(Boolean).join("; ") + ".";
}

function steered(list) {
  if (list.length === 0) {
    show(find("steered"), empty("None: every breaker judges for itself."));
    return;
  }
  const reset = (one) => element("button", {
    type: "button",
    "data-focus": `reset ${one.upstream}`,
    "aria-label": `Reset ${one.upstream}`,
    onclick: (event) => act(event.target, find("override-result"), async () => {
      if (await confirmed(`End the override of ${one.upstream}?`)) show(find("override-result"), await put(one.upstream, "reset", "", ""));
    }),
  }, "Reset");
  show(find("steered"), table("Overrides in force", [
    { name: "Upstream", of: (one) => one.upstream },
    { name: "Action", of: (one) => one.action },
    { name: "Ends", of: until },
    { name: "By", of: (one) => one.who },
    { name: "Reason", long: true, of: (one) => one.reason },
    { name: "", of: reset },
  ], list));
}

export function breakers() {
  const listing = new Listing(find("breaker-list"), {
    caption: "Breakers, open ones first",
    what: "breakers",
    none: "No Envoy has called an upstream yet.",
    text: (one) => `${one.upstream} ${one.envoy} ${one.node_id} ${one.state}`,
    columns: [
      { name: "Upstream", of: (one) => one.upstream },
      { name: "Envoy", of: (one) => one.node_id },
      { name: "State", of: state },
      { name: "Evidence", long: true, of: evidence },
      { name: "Refused", number: true, of: (one) => whole(one.refused_calls) },
      { name: "Slow", number: true, of: (one) => (one.calls ? percent(one.slow_call_rate) : "–") },
    ],
  });
  board.poll("/circuit-breaker/status", 3_000, ["breakers"], (answer) => {
    const rows = Object.entries(answer.upstreams).flatMap(([upstream, list]) => list.map((one) => ({ upstream, ...one })));
    rows.sort((a, b) => order(a) - order(b) || b.failure_rate - a.failure_rate || a.upstream.localeCompare(b.upstream));
    listing.update(rows);
    const names = Object.keys(answer.upstreams);
    show(find("upstreams"), names.map((name) => element("option", { value: name })));
    const words = `The worst state is ${answer.state.replaceAll("_", "-")}, on ${whole(answer.envoys_in_state)} of ${counted(answer.envoys, "Envoys")}.`;
    show(find("breaker-state"), names.length ? words : "No breaker has been asked yet.");
    steered(answer.steered);
  });
  find("override").addEventListener("submit", (event) => {
    event.preventDefault();
    const [upstream, action] = [find("override-upstream").value.trim(), find("override-action").value];
    const expires = find("override-expires").value.trim();
    act(event.submitter, find("override-result"), async () => {
      const ends = action === "reset" ? "" : expires ? ` It ends after ${expires}.` : " It lasts until it is reset.";
      const sure = await confirmed(`${upstream}: ${find("override-action").selectedOptions[0].textContent}?`, element("p", {}, `On every Envoy, at once.${ends}`));
      if (sure) show(find("override-result"), await put(upstream, action, expires, find("override-reason").value.trim()));
    });
  });
}
