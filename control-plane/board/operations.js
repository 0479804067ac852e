// Work that takes long: how far it is, cancel, and what it has done. Snapshots to a file, and back from one.

import { board, document_of, send } from "./api.js";
import { Listing, act, confirmed, counted, duration, element, figure, find, moment, show, whole } from "./dom.js";

// A snapshot takes as long as the Envoys take, and so does a restore.
const LONGEST = 3_600_000;
const ACTIVE = ["running", "cancelling", "awaiting_part"];

const megabytes = (bytes) => `${figure(bytes / 1e6)} MB`;

function progress(one) {
  const amount = (number) => (one.unit === "bytes" ? megabytes(number) : `${whole(number)} ${one.unit}`);
  const left = one.eta_seconds === null ? null : `, ${duration(one.eta_seconds * 1000)} left`;
  // Without a total the bar says that something goes on, and no more.
  const bar = one.total === null ? element("progress", { "aria-label": one.kind }) : element("progress", { value: one.done, max: Math.max(one.total, 1), "aria-label": one.kind });
  const words = one.total === null ? amount(one.done) : `${amount(one.done)} of ${amount(one.total)}`;
  return element("span", {}, bar, ` ${one.stage}: ${words}`, left);
}

function receipt(one) {
  const counts = Object.entries(one.receipt.counts).map(([name, count]) => `${name.replaceAll("_", " ")} ${whole(count)}`);
  return [one.receipt.complete ? "complete" : one.receipt.incomplete_because, ...counts].join("; ");
}

function cancel(one) {
  if (!ACTIVE.includes(one.state) || one.state === "cancelling") return null;
  return element("button", {
    type: "button",
    "data-focus": `cancel ${one.id}`,
    "aria-label": `Cancel the ${one.kind}`,
    onclick: (event) => act(event.target, find("operations-result"), async () => {
      if (!await confirmed(`Cancel the ${one.kind}?`, element("p", {}, "What it has done stays; its receipt says what."))) return;
      await document_of("DELETE", `/operations/${encodeURIComponent(one.id)}`);
      show(find("operations-result"), `The ${one.kind} is told to end.`);
      board.changed("/operations");
    }),
  }, "Cancel …");
}

const key = () => `board-${crypto.getRandomValues(new Uint32Array(2)).join("-")}`;

async function download(button) {
  const result = find("snapshot-result");
  if (!await confirmed("Download a snapshot?", element("p", {}, "It holds the responses as users were sent them. Keep it as you keep their data."))) return;
  show(result, "The Envoys are asked; how far it is stands below.");
  const query = new URLSearchParams({ max_mb: find("snapshot-mb").value || "64" });
  const host = find("snapshot-host").value.trim();
  if (host) query.set("host", host);
  const response = await send("POST", `/cache/snapshot?${query}`, { timeout: LONGEST, more: { "operation-key": key() } });
  board.changed("/operations");
  const blob = await response.blob();
  // Whether it is complete stands at its end.
  const end = await blob.slice(-4096).text();
  const count = /"count":(\d+)/.exec(end)?.[1];
  const because = /"incomplete_because":"([^"]*)"/.exec(end)?.[1];
  if (because?.startsWith("cancelled")) {
    show(result, `Not downloaded: ${because}.`);
    return;
  }
  const address = URL.createObjectURL(blob);
  element("a", { href: address, download: `snapshot-${new Date().toISOString().replace(/[:.]/g, "-")}.json` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
  const complete = /"complete":true/.test(end);
  show(result, `${count ? `${whole(Number(count))} responses` : "A snapshot"}, ${whole(blob.size)} bytes: ${complete ? "complete" : `not complete${because ? `: ${because}` : ""}`}.`);
  button.focus();
}

async function restore(dryRun) {
  const result = find("restore-result");
  const [file] = find("restore-file").files;
  const question = element("p", {}, `${file.name}, ${megabytes(file.size)}. What the caches have of younger age is kept.`);
  if (!dryRun && !await confirmed("Restore this snapshot into all Envoys?", question)) return;
  show(result, "It is sent; how far it is stands below.");
  const query = dryRun ? "?dry_run=true" : "";
  const sent = document_of("POST", `/cache/restore${query}`, { body: file, timeout: LONGEST, more: { "operation-key": key() } });
  board.changed("/operations");
  const said = await sent;
  const words = ["restored", "kept", "expired", "purged", "refused"].map((name) => `${name} ${whole(said[name])}`);
  const silent = said.not_answered.length ? ` ${counted(said.not_answered.length, "Envoys")} did not answer.` : "";
  show(result, `${dryRun ? "Tried only: " : ""}${counted(said.read, "responses")} read, ${words.join(", ")}.${silent}`);
}

export function operations() {
  const listing = new Listing(find("operations"), {
    caption: "Operations of a day, the newest first",
    what: "operations",
    none: "None.",
    text: (one) => `${one.kind} ${one.state} ${one.by} ${one.envoy ?? ""}`,
    columns: [
      { name: "What", of: (one) => (one.envoy ? `${one.kind}: ${one.envoy}` : one.kind) },
      { name: "State", of: (one) => one.state.replaceAll("_", " ") },
      { name: "Progress, or receipt", long: true, of: (one) => (one.receipt ? receipt(one) : progress(one)) },
      { name: "Begun", of: (one) => moment(one.started_at) },
      { name: "By", of: (one) => (one.cancelled_by ? `${one.by}, cancelled by ${one.cancelled_by}` : one.by) },
      { name: "", of: cancel },
    ],
  });
  const poll = board.poll("/operations", 5_000, ["cache"], (list) => {
    listing.update(list);
    // While something goes on it is looked at more often.
    if (list.some((one) => ACTIVE.includes(one.state))) setTimeout(() => poll.now(), 1_000);
  });
  find("snapshot").addEventListener("submit", (event) => {
    event.preventDefault();
    act(event.submitter, find("snapshot-result"), () => download(event.submitter));
  });
  find("restore").addEventListener("submit", (event) => {
    event.preventDefault();
    act(event.submitter, find("restore-result"), () => restore(event.submitter.value === "try"));
  });
}
