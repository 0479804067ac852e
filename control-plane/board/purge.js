// Purges, and their receipts until they are done everywhere.

import { board, document_of } from "./api.js";
import { MOST_ROWS, act, confirmed, counted, duration, element, empty, find, moment, show, table, whole } from "./dom.js";

let watched = null;

const target = (one) => (one.kind === "all" ? "everything" : `${one.kind} ${one.value}`);

// Random, also where the page is not in a secure context and has no randomUUID.
const key = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

function wanted() {
  const kind = find("purge-kind").value;
  const value = find("purge-value").value.trim();
  if (kind !== "all" && !value) throw new Error("Say what is to be purged.");
  const body = { soft: find("purge-soft").checked, reason: find("purge-reason").value.trim() };
  return { body: { ...body, [kind]: kind === "all" ? true : value }, words: target({ kind, value }) };
}

function receipt(answer) {
  const count = answer.matched === null ? `at least ${whole(answer.matched_at_least)}` : whole(answer.matched);
  const state = answer.complete
    ? element("span", { class: "good" }, "Complete: done in every worker of every Envoy.")
    : element("span", { class: "warn" }, "Not complete yet.");
  const missing = [["late", answer.late], ["away", answer.away]].filter(([, list]) => list.length);
  show(find("receipt"),
    element("h3", {}, `Receipt ${answer.id}`),
    element("p", { role: "status", id: "receipt-state" }, state),
    element("p", {}, `${answer.targets.map(target).join(", ")}; stored responses meant: ${count}; shared tier: ${answer.shared_tier}; other replicas: ${answer.replicas}.`),
    answer.hint ? element("p", { class: "hint" }, answer.hint) : null,
    missing.map(([name, list]) => element("p", { class: "warn" }, `${whole(list.length)} ${name}: ${list.slice(0, 10).map((one) => one.node_id).join(", ")}${list.length > 10 ? " …" : ""}`)),
    answer.unknown.length ? element("p", { class: "warn" }, `${whole(answer.unknown.length)} were there when it was accepted and are not known now.`) : null,
    answer.applied.length === 0 ? empty("No Envoy has it in force yet.") : table(`In force on ${counted(answer.applied.length, "Envoys")}${answer.applied.length > MOST_ROWS ? `; the first ${MOST_ROWS} are shown` : ""}`, [
      { name: "Envoy", of: (one) => one.node_id },
      { name: "After", number: true, of: (one) => duration(one.after_ms) },
      { name: "Stored responses meant", number: true, of: (one) => (one.matched === null ? `at least ${whole(one.matched_at_least)}` : whole(one.matched)) },
    ], answer.applied.slice(0, MOST_ROWS)));
}

// Asks for a receipt until it is complete. Counting of what was meant may end a moment later.
function watch(id) {
  watched?.stop();
  const poll = board.poll(`/cache/purges/${encodeURIComponent(id)}`, 1_000, ["purge"], (answer) => {
    receipt(answer);
    if (answer.complete && (answer.matched !== null || Date.now() - answer.at > 30_000)) {
      poll.stop();
      board.changed("/cache/purges");
    }
  });
  watched = poll;
}

function remembered(list) {
  show(find("purges"), list.length === 0 ? empty("None.") : table(`${counted(list.length, "purges")}, the newest first${list.length > MOST_ROWS ? `; ${MOST_ROWS} are shown` : ""}`, [
    { name: "When", of: (one) => moment(one.at) },
    { name: "What", long: true, of: (one) => one.targets.map(target).join(", ") + (one.soft ? " (soft)" : "") },
    { name: "By", of: (one) => one.by },
    { name: "Reason", long: true, of: (one) => one.reason },
    { name: "Envoys", number: true, of: (one) => whole(one.applied_by) },
    {
      name: "",
      of: (one) => element("button", { type: "button", "data-focus": `receipt ${one.id}`, "aria-label": `Receipt of ${one.targets.map(target).join(", ")}`, onclick: () => watch(one.id) }, "Receipt"),
    },
  ], list.slice(0, MOST_ROWS)));
}

export function purge() {
  const result = find("purge-result");
  const kind = find("purge-kind");
  kind.addEventListener("change", () => { find("purge-value").disabled = kind.value === "all"; });
  find("purge-try").addEventListener("click", (event) => act(event.target, result, async () => {
    const { body, words } = wanted();
    const answer = await document_of("POST", "/cache/purge?dry_run=true", { json: body });
    show(result, `Nothing was purged. ${words}: ${counted(answer.envoys.length, "connected Envoys")} would do it.`);
  }));
  find("purge-form").addEventListener("submit", (event) => {
    event.preventDefault();
    act(event.submitter, result, async () => {
      const { body, words } = wanted();
      const how = body.soft ? "What is stored becomes stale." : "What is stored is gone, and the origin is asked again.";
      if (!await confirmed(`Purge ${words}?`, element("p", {}, `On every Envoy. ${how}`))) return;
      const answer = await document_of("POST", "/cache/purge", { json: body, more: { "idempotency-key": key() } });
      show(result, `Accepted: ${words}.`);
      receipt(answer);
      watch(answer.id);
    });
  });
  board.poll("/cache/purges", 10_000, ["purge"], remembered);
}
