// Elements, tables and words. Whatever comes from the API is set as text, never as markup.

export const find = (id) => document.getElementById(id);

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, String(value));
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false).map(asNode));
  return node;
}

const asNode = (child) => (child instanceof Node ? child : document.createTextNode(String(child)));

// An element; `on…` attributes are listeners.
export const element = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);

// The same of an SVG.
export const shape = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

// Replaces what a node holds. Whoever had the focus on something with `data-focus` has it again.
export function show(node, ...children) {
  const active = document.activeElement;
  const held = active && node.contains(active) ? active.dataset.focus : null;
  node.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined).map(asNode));
  if (held) node.querySelector(`[data-focus="${CSS.escape(held)}"]`)?.focus();
}

export const empty = (words) => element("p", { class: "empty" }, words);

export const notice = (words, bad = false) => element("p", { class: bad ? "notice bad" : "notice" }, words);

// A table. A column is { name, of(row), number, long }; the first one names the row.
export function table(caption, columns, rows) {
  const kind = (column) => (column.number ? "number" : column.long ? "long" : null);
  const head = columns.map((column) => element("th", { scope: "col", class: kind(column) }, column.name));
  const line = (row) => element("tr", {}, columns.map((column, at) => (at === 0
    ? element("th", { scope: "row", class: kind(column) }, column.of(row))
    : element("td", { class: kind(column) }, column.of(row)))));
  return element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
    element("table", {}, element("caption", {}, caption), element("thead", {}, element("tr", {}, head)), element("tbody", {}, rows.map(line))));
}

// Most rows of a table at a time: a page with more is slow, and nobody reads them.
export const MOST_ROWS = 50;

// A table of something that may be long, with a filter and counts.
export class Listing {
  constructor(node, { caption, what, columns, text, none }) {
    Object.assign(this, { caption, what, columns, text, none, rows: [] });
    const filter = element("input", { type: "search", id: `${node.id}-filter`, oninput: () => this.draw() });
    this.filter = filter;
    this.count = element("p", { class: "count", role: "status" });
    this.body = element("div", {}, empty("No data yet."));
    show(node, element("label", { for: filter.id }, `Filter ${what}`, filter), this.count, this.body);
  }

  update(rows) {
    this.rows = rows;
    this.draw();
  }

  draw() {
    const wanted = this.filter.value.trim().toLowerCase();
    const matching = wanted ? this.rows.filter((row) => this.text(row).toLowerCase().includes(wanted)) : this.rows;
    const shown = matching.slice(0, MOST_ROWS);
    const words = wanted ? `${whole(matching.length)} of ${counted(this.rows.length, this.what)} match` : counted(this.rows.length, this.what);
    const told = shown.length < matching.length ? `${words}; the first ${shown.length} are shown.` : `${words}.`;
    if (this.count.textContent !== told) this.count.textContent = told;
    if (this.rows.length === 0) show(this.body, empty(this.none));
    else show(this.body, table(this.caption, this.columns, shown));
  }
}

const grouped = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const precise = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

export const whole = (number) => grouped.format(number);
// A count with its word, which is given in the plural.
export const counted = (number, words) => `${whole(number)} ${number === 1 ? words.slice(0, -1) : words}`;
export const figure = (number) => (Math.abs(number) >= 100 ? grouped.format(number) : precise.format(number));
export const percent = (number) => `${number.toFixed(1)} %`;
export const duration = (ms) => (ms < 1000 ? `${figure(ms)} ms` : ms < 120000 ? `${figure(ms / 1000)} s` : ms < 7200000 ? `${figure(ms / 60000)} min` : `${figure(ms / 3600000)} h`);
export const NO_DATA = "no data yet";

const two = (number) => String(number).padStart(2, "0");

export const clock = (ms) => {
  const time = new Date(ms);
  return `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`;
};

export const moment = (ms) => {
  const time = new Date(ms);
  return `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())} ${clock(ms)}`;
};

// Asks before something that cannot be taken back.
export function confirmed(what, ...more) {
  const dialog = find("confirm");
  find("confirm-what").textContent = what;
  show(find("confirm-more"), ...more);
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}

// A link to an address that the API names; nothing but the web is linked.
export function link(address, words) {
  return /^https?:\/\//.test(address) ? element("a", { href: address, rel: "noreferrer" }, words) : null;
}

// Runs what a button starts: once at a time, and what is refused is told in words.
export async function act(button, result, work) {
  button.disabled = true;
  result.classList.remove("bad");
  try {
    await work();
  } catch (problem) {
    result.classList.add("bad");
    show(result, problem.message);
  } finally {
    button.disabled = false;
  }
}

// What differs, as a table.
export function changes(list) {
  if (list.length === 0) return empty("Nothing would differ.");
  const value = (given) => (given === null || given === undefined ? "–" : JSON.stringify(given));
  return table(`${counted(list.length, "fields")} changed`, [
    { name: "Field", of: (one) => one.path, long: true },
    { name: "Before", of: (one) => value(one.before), long: true },
    { name: "After", of: (one) => value(one.after), long: true },
  ], list.slice(0, MOST_ROWS));
}
