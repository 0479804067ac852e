// What verified sharing has found: what responses depend on, the evidence, what would make it right, and release.

import { board, document_of } from "./api.js";
import { Listing, act, confirmed, element, find, moment } from "./dom.js";

const result = () => find("findings-result");

const place = (one) => (one.route === null ? `${one.host}${one.path_prefix}` : `route ${one.route}`);

function evidence(one) {
  const digests = one.served === null ? "" : `; served ${one.served}, the origin says ${one.fetched ?? "something else"}`;
  return `found ${moment(one.found_at)}${one.upstream === null ? "" : ` at ${one.upstream}`}${digests}`;
}

// The change that makes it right goes where all changes are tried and applied.
function take(one) {
  find("patch-text").value = JSON.stringify(one.proposal, null, 2);
  find("patch-reason").value = `finding ${one.id}`;
  location.hash = "#settings";
  find("patch-text").focus();
}

function proposed(one) {
  if (one.proposal === null) return "no setting says it";
  return element("div", {},
    element("details", {}, element("summary", {}, "merge patch"), element("pre", { tabindex: 0 }, JSON.stringify(one.proposal, null, 2))),
    element("button", { type: "button", "data-focus": `take ${one.id}`, "aria-label": `Put the proposal for ${place(one)} into the patch`, onclick: () => take(one) }, "Put into the patch"));
}

function release(one) {
  return element("button", {
    type: "button",
    "data-focus": `release ${one.id}`,
    "aria-label": `Release ${place(one)}`,
    onclick: (event) => act(event.target, result(), async () => {
      const more = "These requests are cached again as before. What still depends on something that is not in the key is found again.";
      if (!await confirmed(`Release ${place(one)}?`, element("p", {}, more))) return;
      const answer = await document_of("DELETE", `/cache/findings/${encodeURIComponent(one.id)}?wait=all`);
      result().textContent = `${place(one)} is released with revision ${answer.revision}.`;
      board.changed("/cache/findings");
    }),
  }, "Release …");
}

export function findings() {
  const listing = new Listing(find("findings"), {
    caption: "Routes whose responses depend on what is not in their key, the oldest first",
    what: "findings",
    none: "Nothing was found.",
    text: (one) => `${place(one)} ${one.depends_on.join(" ")} ${one.upstream ?? ""}`,
    columns: [
      { name: "Requests", long: true, of: place },
      { name: "Depend on", of: (one) => one.depends_on.join(", ") },
      { name: "State", of: (one) => (one.quarantined ? element("span", { class: "bad" }, "not cached") : "the key is made otherwise by now") },
      { name: "Evidence", long: true, of: evidence },
      { name: "What would make it right", long: true, of: proposed },
      { name: "", of: release },
    ],
  });
  let last = null;
  board.poll("/cache/findings", 5_000, ["cache"], (list) => {
    // A proposal that somebody has opened stays open.
    const text = JSON.stringify(list);
    if (text === last) return;
    last = text;
    listing.update(list);
  });
}
