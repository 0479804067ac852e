// What each Envoy would do with a request now, and why.

import { document_of } from "./api.js";
import { MOST_ROWS, act, counted, duration, element, find, show, table, whole } from "./dom.js";

const known = (value, words) => (value === null || value === undefined ? "–" : words(value));

function details(one) {
  return element("details", {}, element("summary", {}, "everything"), element("pre", { tabindex: 0 }, JSON.stringify(one.explanation, null, 2)));
}

function told(envoys) {
  const silent = envoys.filter((one) => !one.answered).length;
  const left = envoys.length > MOST_ROWS ? `; the first ${MOST_ROWS} of ${whole(envoys.length)} are shown` : "";
  return table(`${counted(envoys.length - silent, "Envoys")} answered, ${whole(silent)} did not${left}`, [
    { name: "Envoy", of: (one) => one.envoy },
    { name: "Decision", of: (one) => one.explanation?.decision ?? "no answer" },
    { name: "Reason", of: (one) => one.explanation?.reason ?? "–" },
    { name: "Route", of: (one) => one.explanation?.route ?? "–" },
    { name: "Age", number: true, of: (one) => known(one.explanation?.age_s, (age) => duration(age * 1000)) },
    { name: "Fresh for", number: true, of: (one) => known(one.explanation?.ttl_s, (ttl) => duration(ttl * 1000)) },
    { name: "Details", of: (one) => (one.answered ? details(one) : "") },
  ], envoys.slice(0, MOST_ROWS));
}

export function explain() {
  find("explain").addEventListener("submit", (event) => {
    event.preventDefault();
    const result = find("explain-result");
    act(event.submitter, result, async () => {
      const query = new URLSearchParams({ url: find("explain-url").value.trim(), method: find("explain-method").value.trim() || "GET" });
      for (const line of find("explain-fields").value.split("\n")) if (line.trim()) query.append("header", line.trim());
      show(result, told((await document_of("GET", `/cache/explain?${query}`)).envoys));
    });
  });
}
