// The filter's module on trial: who runs it, promote, and give up.

import { board, document_of } from "./api.js";
import { act, confirmed, element, find, notice, show, whole } from "./dom.js";

const short = (sha256) => (sha256 ? sha256.slice(0, 12) : "the file on each machine");

async function end(action) {
  const sure = action === "promote" ? "Give this module to all Envoys?" : "Give up this module?";
  if (!await confirmed(sure)) return;
  await document_of("POST", `/filter/rollout/${action}`);
  show(find("module-result"), action === "promote" ? "All Envoys are told." : "The canaries are told to go back.");
  board.changed("/filter/rollout");
}

const button = (words, named, focus, work) => element("button", { type: "button", "aria-label": named, "data-focus": focus, onclick: (event) => act(event.target, find("module-result"), work) }, words);

function canary({ canary: trial, stable, envoys }) {
  if (trial === null) {
    show(find("module-canary"));
    return;
  }
  const offered = envoys.filter((one) => one.offered === trial.sha256);
  const running = offered.filter((one) => one.in_force === trial.sha256).length;
  const refused = offered.filter((one) => one.refused !== null);
  show(find("module-canary"),
    element("h3", {}, `Module ${short(trial.sha256)} of the filter is on trial`),
    element("p", {},
      element("progress", { value: running, max: Math.max(offered.length, 1), "aria-label": "Canaries that run it" }),
      ` On ${trial.percent} % of the Envoys that take their filter from here: in force on ${whole(running)} of ${whole(offered.length)}; all others run ${short(stable)}.`),
    refused.map((one) => notice(`${one.node_id} refuses it: ${one.refused}`, true)),
    button("Promote …", "Promote the module on trial", "module promote", () => end("promote")),
    button("Give up …", "Give up the module on trial", "module abort", () => end("abort")));
}

export function modules() {
  board.poll("/filter/rollout", 5_000, ["fleet"], canary);
}
