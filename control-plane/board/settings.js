// Settings: a form for the most used ones, a merge patch for all, what came of it, history and canary.

import { board, document_of } from "./api.js";
import { MOST_ROWS, Listing, NO_DATA, act, changes, confirmed, counted, duration, element, empty, find, moment, notice, percent, show, table, whole } from "./dom.js";

const COMMON = [
  "/cache_enabled", "/default_ttl", "/cache_size", "/cache_memory_mb", "/eviction_policy", "/max_object_size",
  "/freshness/stale_while_revalidate", "/freshness/stale_if_error", "/freshness/max_stale_on_outage", "/request_collapsing/enabled",
  "/breaker/enabled", "/breaker/dry_run", "/breaker/failure_rate_percent", "/breaker/minimum_calls", "/breaker/open_wait",
];

// The settings in force when the form was filled, and the entity tag of these.
let base = null;
let tag = null;
let meanings = null;

const names = (path) => path.split("/").slice(1);
const at = (document, path) => names(path).reduce((part, name) => part?.[name], document);
const meaning = (path) => names(path).reduce((part, name) => part?.properties?.[name], meanings);
const input = (path) => find(`setting${path.replaceAll("/", "-")}`);

function field(path, value) {
  const id = `setting${path.replaceAll("/", "-")}`;
  const about = meaning(path)?.description;
  const hint = about ? element("small", { id: `${id}-about` }, about) : null;
  const attributes = { id, "aria-describedby": hint ? hint.id : null };
  if (typeof value === "boolean") return element("label", {}, element("span", {}, element("input", { ...attributes, type: "checkbox", checked: value }), ` ${path.slice(1)}`), hint);
  const words = meaning(path)?.anyOf?.find((one) => one.enum)?.enum;
  if (typeof value === "string" && words?.includes(value)) {
    const options = words.map((word) => element("option", { value: word, selected: word === value }, word));
    return element("label", {}, path.slice(1), element("select", attributes, options), hint);
  }
  const kind = typeof value === "number" ? { type: "number" } : { type: "text" };
  return element("label", {}, path.slice(1), element("input", { ...attributes, ...kind, value }), hint);
}

function given(path) {
  const node = input(path);
  if (node.type === "checkbox") return node.checked;
  return node.type === "number" && node.value !== "" ? Number(node.value) : node.value;
}

function fill() {
  show(find("common-fields"), COMMON.filter((path) => at(base, path) !== undefined).map((path) => field(path, at(base, path))));
}

// What the form differs in, as a merge patch.
function difference() {
  const patch = {};
  for (const path of COMMON) {
    if (!input(path) || given(path) === at(base, path)) continue;
    const steps = names(path);
    const last = steps.pop();
    const part = steps.reduce((inner, name) => (inner[name] ??= {}), patch);
    part[last] = given(path);
  }
  return patch;
}

function untouched() {
  return base === null || (COMMON.every((path) => !input(path) || given(path) === at(base, path)) && find("patch-text").value.trim() === "{}");
}

// Settings that changed while somebody edits are not put under their hands; the entity tag then refuses what is based on the older ones.
function arrived(document, response) {
  const now = response.headers.get("etag");
  if (now === tag) return;
  if (!untouched()) {
    show(find("settings-revision"), notice("The settings have been changed meanwhile."), element("button", { type: "button", "data-focus": "take", onclick: () => take(document, now) }, "Take those in force"));
    return;
  }
  take(document, now);
}

function take(document, now) {
  base = document;
  tag = now;
  find("patch-text").value = "{}";
  show(find("settings-revision"), `Revision ${/-(\d+)"$/.exec(now ?? "")?.[1] ?? "?"} is in force.`);
  fill();
  history?.now();
}

function violations(list) {
  return table(`${counted(list.length, "violations")}; nothing has changed`, [
    { name: "Field", of: (one) => one.path || "/", long: true },
    { name: "Code", of: (one) => one.code },
    { name: "What is wrong", long: true, of: (one) => one.message },
  ], list);
}

function outcome(answer) {
  const words = answer.dry_run
    ? `Tried only: nothing has changed. It would be revision ${answer.revision}.`
    : answer.changed ? `Revision ${answer.revision} is accepted.` : "Nothing differs from what is in force.";
  const refused = answer.refused.map((one) => notice(`${one.envoy} refuses it: ${one.violations.map((found) => `${found.path}: ${found.message}`).join("; ")}`, true));
  return [
    element("p", {}, words),
    answer.stragglers.length ? notice(`${whole(answer.stragglers.length)} Envoys do not run on it yet.`) : null,
    refused.slice(0, MOST_ROWS),
    (answer.notices ?? []).map((one) => notice(`${one.path}: ${one.message}`)),
    answer.changes ? changes(answer.changes) : null,
  ].flat();
}

// A change: what came of it, or each violation with its path.
async function change(method, path, options) {
  const result = find("patch-result");
  result.classList.remove("bad");
  try {
    const answer = await document_of(method, path, options);
    show(result, outcome(answer));
    return answer;
  } catch (problem) {
    if (!problem.problem?.violations) throw problem;
    show(result, element("p", { class: "bad" }, `${problem.problem.title}.`), violations(problem.problem.violations));
    return null;
  }
}

function patched(dryRun) {
  const text = find("patch-text").value;
  JSON.parse(text);
  const query = new URLSearchParams(dryRun ? { dry_run: "true" } : { wait: "all" });
  const [canary, reason] = [find("patch-canary").value, find("patch-reason").value.trim()];
  if (canary) query.set("canary", canary);
  if (reason) query.set("reason", reason);
  const more = tag ? { "if-match": tag } : {};
  return change("PATCH", `/settings?${query}`, { json: text, type: "application/merge-patch+json", more });
}

function changed() {
  base = null;
  tag = null;
  board.changed("/settings");
}

async function apply() {
  const tried = await patched(true);
  if (!tried?.changed) return;
  const share = find("patch-canary").value;
  if (!await confirmed(share ? `Try this on ${share} % of the Envoys?` : "Apply this to all Envoys?", changes(tried.changes))) return;
  if (await patched(false)) changed();
}

async function rollback(revision) {
  const json = { revision };
  const tried = await change("POST", "/settings/rollback?dry_run=true", { json });
  if (!tried || !await confirmed(`Roll back to revision ${revision}?`, changes(tried.changes))) return;
  if (await change("POST", "/settings/rollback?wait=all", { json })) changed();
}

const button = (words, named, focus, work) => element("button", { type: "button", "aria-label": named, "data-focus": focus, onclick: (event) => act(event.target, find("patch-result"), work) }, words);

async function end(action) {
  const sure = action === "promote" ? "Give what is on trial to all Envoys?" : "Give up the trial?";
  if (!await confirmed(sure)) return;
  const answer = await document_of("POST", `/settings/canary/${action}`);
  show(find("patch-result"), `Done: revision ${answer.revision} is in force.`);
  changed();
}

function canary({ canary: trial }) {
  if (trial === null) {
    show(find("canary"));
    return;
  }
  const seen = (part, value) => (part.requests ? value(part) : NO_DATA);
  const columns = [
    { name: "Part of the fleet", of: ([name]) => name },
    { name: "Requests", number: true, of: ([, part]) => whole(part.requests) },
    { name: "Failed", number: true, of: ([, part]) => seen(part, (known) => percent(known.error_rate)) },
    { name: "Hit ratio", number: true, of: ([, part]) => seen(part, (known) => percent(known.cache_hit_ratio)) },
    { name: "p95", number: true, of: ([, part]) => seen(part, (known) => duration(known.p95_latency)) },
  ];
  const running = trial.envoys.filter((one) => one.in_force).length;
  const refusing = trial.envoys.filter((one) => one.refused).length;
  show(find("canary"),
    element("h3", {}, `Revision ${trial.revision} is on trial`),
    element("p", {}, `On ${trial.share} % of the Envoys since ${moment(trial.since)}, by ${trial.who}: in force on ${whole(running)} of ${whole(trial.envoys.length)}, refused by ${whole(refusing)}.`),
    table("Since the trial began", columns, [["on trial", trial.figures.canary], ["all others", trial.figures.others]]),
    changes(trial.changes),
    button("Promote …", "Promote what is on trial", "promote", () => end("promote")),
    button("Give up …", "Give up what is on trial", "abort", () => end("abort")));
}

let history = null;

function past() {
  const listing = new Listing(find("history"), {
    caption: "Revisions, the newest first",
    what: "revisions",
    none: "None.",
    text: (one) => `${one.revision} ${one.who} ${one.door} ${one.reason} ${one.changes.map((change) => change.path).join(" ")}`,
    columns: [
      { name: "Revision", of: (one) => one.revision },
      { name: "When", of: (one) => moment(one.at) },
      { name: "By", of: (one) => one.who || "–" },
      { name: "From", of: (one) => one.door },
      { name: "Reason", long: true, of: (one) => one.reason },
      { name: "Changes", long: true, of: (one) => (one.changes.length ? element("details", {}, element("summary", {}, `${counted(one.changes.length, "fields")}`), changes(one.changes)) : "none") },
      { name: "", of: (one) => button("Roll back …", `Roll back to revision ${one.revision}`, `back ${one.revision}`, () => rollback(one.revision)) },
    ],
  });
  let newest = null;
  history = board.poll("/settings/history?limit=100", 15_000, ["settings"], (list) => {
    const last = list.at(-1)?.revision;
    // Details that somebody has opened stay open.
    if (last === newest) return;
    newest = last;
    listing.update(list.reverse());
  });
}

async function learn() {
  meanings = await document_of("GET", "/settings/schema");
  if (base && untouched()) fill();
}

export function settings() {
  show(find("common-fields"), empty("No data yet."));
  board.poll("/settings", 5_000, ["settings"], (document, response) => {
    arrived(document, response);
    if (meanings === null) {
      meanings = {};
      learn().catch(() => { meanings = null; });
    }
  });
  board.poll("/settings/canary", 5_000, ["settings"], canary);
  past();
  find("common").addEventListener("submit", (event) => {
    event.preventDefault();
    if (base) find("patch-text").value = JSON.stringify(difference(), null, 2);
    find("patch-text").focus();
  });
  const result = find("patch-result");
  find("patch-try").addEventListener("click", (event) => act(event.target, result, () => patched(true)));
  find("patch").addEventListener("submit", (event) => {
    event.preventDefault();
    act(event.submitter, result, apply);
  });
}
