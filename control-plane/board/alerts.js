// Alerts: seen, silenced, and what the runbook says about them.

import { board, document_of, send } from "./api.js";
import { Listing, act, duration, element, empty, figure, find, link, moment, show, table } from "./dom.js";

const result = () => find("alert-result");

function severity(alert) {
  const kind = alert.severity === "critical" ? "bad" : "warn";
  return element("span", { class: kind }, `${alert.severity}, SEV-${alert.sev}`);
}

function acknowledge(alert) {
  if (alert.acknowledged_by) return `seen by ${alert.acknowledged_by}`;
  return element("button", {
    type: "button",
    "data-focus": `ack ${alert.id}`,
    "aria-label": `Acknowledge ${alert.name}`,
    onclick: (event) => act(event.target, result(), async () => {
      const answer = await document_of("POST", `/alerts/${encodeURIComponent(alert.id)}/ack`);
      show(result(), `${alert.name}: acknowledged by ${answer.acknowledged_by}.`);
      board.changed("/alerts");
    }),
  }, "Acknowledge");
}

function silence(alert) {
  if (alert.silenced) return "silenced";
  return element("button", {
    type: "button",
    "data-focus": `silence ${alert.id}`,
    "aria-label": `Silence ${alert.name} …`,
    onclick: () => {
      find("silence-name").value = alert.name;
      find("silence-expires").focus();
    },
  }, "Silence …");
}

function silences(list) {
  const end = (one) => element("button", {
    type: "button",
    "data-focus": `end ${one.name}`,
    "aria-label": `End the silence of ${one.name}`,
    onclick: (event) => act(event.target, result(), async () => {
      await send("DELETE", `/alerts/silences/${encodeURIComponent(one.name)}`);
      show(result(), `${one.name} is told again.`);
      board.changed("/alerts");
    }),
  }, "End");
  show(find("silences"), list.length === 0 ? empty("None is in force.") : table("Silences in force", [
    { name: "Rule", of: (one) => one.name },
    { name: "Until", of: (one) => moment(one.until) },
    { name: "By", of: (one) => one.by },
    { name: "Reason", long: true, of: (one) => one.reason },
    { name: "", of: end },
  ], list));
}

export function alerts() {
  const listing = new Listing(find("alert-list"), {
    caption: "Alerts that are on, the worst first",
    what: "alerts",
    none: "No alert is on.",
    text: (alert) => `${alert.name} ${alert.severity} ${alert.summary} ${Object.values(alert.labels).join(" ")}`,
    columns: [
      { name: "Rule", of: (alert) => alert.name },
      { name: "Severity", of: severity },
      { name: "What", long: true, of: (alert) => alert.summary },
      { name: "Figure", number: true, of: (alert) => `${figure(alert.value)} (limit ${figure(alert.threshold)})` },
      { name: "For", number: true, of: (alert) => duration(Math.max(0, Date.now() - alert.since)) },
      { name: "Runbook", of: (alert) => link(alert.runbook, "what to do") ?? alert.runbook },
      { name: "Seen", of: acknowledge },
      { name: "Told", of: silence },
    ],
  });
  board.poll("/alerts/active", 5_000, ["alerts", "overview"], (list) => {
    listing.update(list);
    const anchor = document.querySelector('#views a[href="#alerts"]');
    anchor.textContent = list.length ? `Alerts (${list.length})` : "Alerts";
  });
  board.poll("/alerts/silences", 10_000, ["alerts"], silences);
  find("silence").addEventListener("submit", (event) => {
    event.preventDefault();
    act(event.submitter, result(), async () => {
      const json = { name: find("silence-name").value.trim(), expires_in: find("silence-expires").value.trim(), reason: find("silence-reason").value.trim() };
      const said = await document_of("POST", "/alerts/silences", { json });
      show(result(), `${said.name} is silenced until ${moment(said.until)}.`);
      board.changed("/alerts");
    });
  });
}
