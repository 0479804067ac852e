// Experiments: a change of settings on part of the fleet beside a control group; begun from advice or a patch, looked at, stopped.

import { board, document_of } from "./api.js";
import { Listing, NO_DATA, act, confirmed, counted, duration, element, find, moment, percent, show, table, whole } from "./dom.js";

const result = () => find("experiment-result");

const signed = (number) => `${number < 0 ? "−" : "+"}${Math.abs(number).toFixed(1)}`;

// A difference with its interval, as far as it is known.
function difference(one, unit) {
  const most = one.high === null ? "or more" : `to ${signed(one.high)}`;
  return `${signed(one.seen)} ${unit} (${signed(one.low)} ${most})`;
}

function state(one) {
  const kind = { promoted: "good", rolled_back: "bad", inconclusive: "warn" }[one.state] ?? null;
  const because = one.because === null ? "" : ` (${one.because.replaceAll("_", " ")})`;
  return element("span", { class: kind }, one.state.replaceAll("_", " ") + because);
}

function arms(one) {
  const { figures } = one;
  const seen = (count, words) => (count ? words : NO_DATA);
  return table("Both arms since the change is in force; latency and hits since caches are warm", [
    { name: "Arm", of: ([name]) => name },
    { name: "Envoys", number: true, of: ([, arm]) => whole(arm.envoys) },
    { name: "Requests", number: true, of: ([, arm]) => whole(arm.requests) },
    { name: "Failed", number: true, of: ([, arm]) => seen(arm.requests, percent(arm.error_rate)) },
    { name: "p95", number: true, of: ([, arm]) => seen(arm.warm_requests, duration(arm.p95_latency)) },
    { name: "Hit ratio", number: true, of: ([, arm]) => seen(arm.lookups, percent(arm.cache_hit_ratio)) },
  ], [["tries the change", figures.experiment], ["control group", figures.control]]);
}

function differences(one) {
  const { figures, plan } = one;
  return table(`How the arms differ, with intervals that hold at any time (${plan.confidence} %)`, [
    { name: "Figure", of: ([name]) => name },
    { name: "Difference", number: true, of: ([, words]) => words },
    { name: "Allowed", of: ([, , allowed]) => allowed },
  ], [
    ["Failed requests", difference(figures.error_rate, "points"), `${plan.max_error_rate_increase} points more`],
    ["p95 latency", difference(figures.p95_latency, "%"), `${plan.max_p95_increase} % more`],
    ["Hit ratio", difference(figures.cache_hit_ratio, "points"), plan.goal === "cache_hit_ratio" ? `${plan.min_gain} points more are wanted` : "–"],
  ]);
}

function stop(one) {
  if (one.ended_at !== null) return null;
  return element("button", {
    type: "button",
    "data-focus": `stop ${one.id}`,
    "aria-label": "Stop the experiment",
    onclick: (event) => act(event.target, result(), async () => {
      if (!await confirmed("Stop the experiment?", element("p", {}, "Its change is rolled back."))) return;
      const ended = await document_of("DELETE", `/tuning/experiments/${encodeURIComponent(one.id)}`);
      show(result(), ended.summary);
      board.changed("/tuning/experiments");
      board.changed("/settings");
    }),
  }, "Stop …");
}

// The newest one as it stands.
function newest(one) {
  if (!one) {
    show(find("experiment"));
    return;
  }
  const { predicted } = one;
  const share = `${one.plan.share} % of the Envoys`;
  show(find("experiment"),
    element("h3", {}, one.ended_at === null ? "Under way" : "The last one"),
    element("p", {}, state(one), `: ${one.summary}`),
    element("p", {}, `Begun ${moment(one.started_at)} by ${one.by} on ${share}${one.reason ? `: ${one.reason}` : ""}.`),
    predicted ? element("p", {}, `Predicted from ${counted(predicted.samples, "samples")}: ${signed(predicted.cache_hit_ratio)} points of the hit ratio.`) : null,
    arms(one),
    differences(one),
    stop(one));
}

const given = (id) => find(`experiment-${id}`).value.trim();

function asked() {
  const json = {};
  const from = given("from");
  if (from === "settings") json.settings = JSON.parse(given("patch"));
  else json.from = from;
  if (given("share")) json.share = Number(given("share"));
  for (const name of ["goal", "warm_up", "min_duration", "max_duration", "reason"]) if (given(name)) json[name] = given(name);
  return json;
}

async function begin() {
  const json = asked();
  const what = json.settings ? element("pre", {}, JSON.stringify(json.settings, null, 2)) : element("p", {}, `${find("experiment-from").selectedOptions[0].textContent}.`);
  if (!await confirmed(`Try this on ${json.share ?? 25} % of the Envoys?`, what, element("p", {}, "It is rolled back at once where it harms, and promoted where it helps."))) return;
  const begun = await document_of("POST", "/tuning/experiments", { json });
  show(result(), `Experiment ${begun.id} is under way with revision ${begun.revision}.`);
  board.changed("/tuning/experiments");
  board.changed("/settings");
}

export function experiments() {
  const listing = new Listing(find("experiment-list"), {
    caption: "Experiments that are remembered, the newest first",
    what: "experiments",
    none: "There was none yet.",
    text: (one) => `${one.id} ${one.state} ${one.by} ${one.reason} ${one.summary} ${JSON.stringify(one.settings)}`,
    columns: [
      { name: "Begun", of: (one) => moment(one.started_at) },
      { name: "Change", long: true, of: (one) => JSON.stringify(one.settings) },
      { name: "State", of: state },
      { name: "What came of it", long: true, of: (one) => one.summary },
      { name: "By", of: (one) => one.by },
    ],
  });
  board.poll("/tuning/experiments", 5_000, ["experiments"], (list) => {
    newest(list[0]);
    listing.update(list);
  });
  find("experiment-from").addEventListener("change", () => {
    find("experiment-patch-label").hidden = given("from") !== "settings";
  });
  find("experiment-form").addEventListener("submit", (event) => {
    event.preventDefault();
    act(event.submitter, result(), begin);
  });
}
