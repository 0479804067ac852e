// The page: its views, the token, and what is live.

import { board, token } from "./api.js";
import { find } from "./dom.js";
import { figures, overview } from "./overview.js";
import { alerts } from "./alerts.js";
import { breakers } from "./breakers.js";
import { cache } from "./cache.js";
import { experiments } from "./experiments.js";
import { explain } from "./explain.js";
import { findings } from "./findings.js";
import { fleet } from "./fleet.js";
import { modules } from "./modules.js";
import { operations } from "./operations.js";
import { purge } from "./purge.js";
import { settings } from "./settings.js";
import { whatIf } from "./what_if.js";

const VIEWS = ["overview", "fleet", "breakers", "cache", "purge", "settings", "experiments", "alerts"];

function look() {
  const asked = location.hash.slice(1);
  if (asked === "content") return;
  const view = VIEWS.includes(asked) ? asked : VIEWS[0];
  for (const name of VIEWS) find(name).hidden = name !== view;
  for (const anchor of find("views").querySelectorAll("a")) {
    if (anchor.hash === `#${view}`) anchor.setAttribute("aria-current", "page");
    else anchor.removeAttribute("aria-current");
  }
  board.look(view);
}

function ask(why) {
  find("login-why").textContent = why;
  find("login").hidden = false;
  find("content").hidden = true;
  find("forget").hidden = true;
  find("connection").textContent = "Not connected: a token is needed.";
  find("token").value = "";
  find("token").focus();
}

function open() {
  find("login").hidden = true;
  find("content").hidden = false;
  find("forget").hidden = !token.get();
  board.unlock();
}

find("login").addEventListener("submit", (event) => {
  event.preventDefault();
  token.set(find("token").value.trim());
  find("token").value = "";
  open();
});
find("forget").addEventListener("click", () => {
  token.forget();
  // What was shown with the token goes with it.
  location.reload();
});

// What an event says has changed; the figures themselves come by the polls.
const CHANGED = {
  settings: ["/settings", "/fleet", "/cache/findings"],
  experiment: ["/tuning/experiments", "/settings"],
  alert: ["/alerts"],
  breaker: ["/circuit-breaker"],
  purge: ["/cache/purges"],
  operation: ["/operations"],
};

for (const part of [overview, fleet, modules, breakers, cache, findings, whatIf, explain, operations, purge, settings, experiments, alerts]) part();
window.addEventListener("hashchange", look);
find("forget").hidden = !token.get();
look();
board.start({ status: find("connection"), ask });
board.listen("/metrics/stream", () => ["overview"], (kind, data) => {
  if (kind === "performance") {
    board.heard();
    figures(data);
  }
});
board.listen("/events", () => VIEWS, (kind) => {
  for (const path of CHANGED[kind] ?? []) board.told(path);
});
