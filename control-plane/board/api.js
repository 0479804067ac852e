// Requests to the control plane: with the token, one poll at a time, and in words when something is refused or away.

import { clock } from "./dom.js";

// A request that takes longer is given up on; a purge or a change may wait for Envoys, a snapshot for all of them.
const TIMEOUT = 20_000;
// Least time between two polls: no viewer asks more than twice a second.
const SPACING = 500;
// Bytes per second that polls of one kind may take: what is large is asked for less often.
const BYTES = 25_000;
// An answer that took long is asked for less often: a twentieth of the time at most.
const SHARE = 20;
const LONGEST_WAIT = 30_000;
// The live stream speaks each second; when it says nothing for so long it is gone.
const SILENCE = 10_000;
// Longest line of a stream.
const LINE = 1 << 20;

// Why a request did not succeed. Status 0: there was no answer.
export class Refused extends Error {
  constructor(status, words, problem = {}) {
    super(words);
    Object.assign(this, { status, problem });
  }
}

const STORED = "api-optimizer-token";
export const token = {
  get: () => sessionStorage.getItem(STORED),
  set: (text) => sessionStorage.setItem(STORED, text),
  forget: () => sessionStorage.removeItem(STORED),
};

function headers(more) {
  const known = token.get();
  return known ? { ...more, authorization: `Bearer ${known}` } : { ...more };
}

async function refusal(response) {
  let problem = {};
  try {
    problem = await response.json();
  } catch {
    // Whatever stands between may answer with anything.
  }
  const title = problem.title ?? `The answer is ${response.status} ${response.statusText}`;
  if (response.status === 401) return new Refused(401, title, problem);
  if (response.status === 403) return new Refused(403, `Not allowed: ${title}.`, problem);
  const found = (problem.violations ?? []).map((one) => `${one.path || "/"}: ${one.message}`);
  return new Refused(response.status, [title, ...found].join("; "), problem);
}

// The answer, or `Refused`.
export async function send(method, path, { json, body: file, type = "application/json", more = {}, timeout = TIMEOUT } = {}) {
  const body = json === undefined ? file : typeof json === "string" ? json : JSON.stringify(json);
  const shown = token.get();
  let response;
  try {
    response = await fetch(path, {
      method,
      body,
      headers: headers(body === undefined ? more : { ...more, "content-type": type }),
      signal: AbortSignal.timeout(timeout),
      cache: "no-store",
    });
  } catch {
    board.suspect();
    throw new Refused(0, "The control plane cannot be reached.");
  }
  if (response.ok) return response;
  const refused = await refusal(response);
  // Another token may have been given meanwhile, of which this says nothing.
  if (refused.status === 401 && shown === token.get()) board.asksForToken(refused.message);
  throw refused;
}

export const document_of = async (method, path, options) => (await send(method, path, options)).json();

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// What is asked again and again while its view is shown.
class Poll {
  constructor(path, every, views, show) {
    Object.assign(this, { path, every, views, show, due: 0, earliest: 0, failed: null });
  }

  // When it is to be asked next, by how long and how large the answer was.
  done(took, bytes) {
    const wait = Math.max(this.every, took * SHARE, (bytes / BYTES) * 1000);
    this.due = performance.now() + wait;
    this.earliest = performance.now() + wait / 4;
  }
}

// The polls, the live stream, and what is told of the connection.
class Board {
  constructor() {
    Object.assign(this, { polls: [], view: "overview", lost: false, last: 0, failures: 0, locked: false, wake: () => {} });
    this.streams = [];
  }

  // `show` gets each answer. The poll can be asked for at once with `now`, and ended with `stop`.
  poll(path, every, views, show) {
    const poll = new Poll(path, every, views, show);
    this.polls.push(poll);
    this.wake();
    return {
      now: () => {
        poll.due = 0;
        this.wake();
      },
      stop: () => {
        this.polls = this.polls.filter((one) => one !== poll);
      },
    };
  }

  // An event: what shows it is asked for sooner than else, but not at the pace of events, which may come without a pause.
  told(beginning) {
    for (const poll of this.polls) if (poll.path.startsWith(beginning)) poll.due = Math.min(poll.due, poll.earliest);
    this.wake();
  }

  // A change made here: what shows it is asked for at once.
  changed(beginning) {
    for (const poll of this.polls) if (poll.path.startsWith(beginning)) poll.due = 0;
    this.wake();
  }

  look(view) {
    this.view = view;
    for (const poll of this.polls) if (poll.failed) poll.due = 0;
    this.wake();
  }

  start({ status, ask }) {
    Object.assign(this, { status, ask });
    document.addEventListener("visibilitychange", () => {
      for (const stream of this.streams) if (document.hidden) stream.abort();
      this.wake();
    });
    this.run();
  }

  asksForToken(why) {
    if (this.locked) return;
    this.locked = true;
    for (const stream of this.streams) stream.abort();
    this.ask(token.get() ? `${why}.` : "This control plane asks for a token.");
  }

  unlock() {
    this.locked = false;
    for (const poll of this.polls) poll.due = 0;
    this.wake();
  }

  // A request got no answer: the polls find out whether the connection is lost.
  suspect() {
    const first = this.next();
    if (first) first.due = 0;
    this.wake();
  }

  heard() {
    this.last = Date.now();
    this.failures = 0;
    if (this.lost) for (const poll of this.polls) poll.due = 0;
    this.lost = false;
    document.body.classList.remove("lost");
    this.tell(`Connected. Data of ${clock(this.last)}.`);
  }

  broken(wait, problem) {
    this.lost = true;
    document.body.classList.add("lost");
    const data = this.last ? `last data of ${clock(this.last)}` : "no data yet";
    const what = problem.status === 0 ? "Connection lost" : problem.message;
    this.tell(`${what}, ${data}. Trying again in ${Math.ceil(wait / 1000)} s.`);
  }

  tell(words) {
    // Only what differs beside the time is announced: a screen reader would read out each second.
    this.status.setAttribute("aria-live", this.lost === this.announced ? "off" : "polite");
    this.announced = this.lost;
    this.status.textContent = words;
  }

  idle() {
    return document.hidden || this.locked;
  }

  next() {
    const wanted = this.polls.filter((poll) => poll.views.includes(this.view));
    return wanted.reduce((first, poll) => (first === null || poll.due < first.due ? poll : first), null);
  }

  async sleep(ms) {
    await Promise.race([pause(ms), new Promise((resolve) => { this.wake = resolve; })]);
  }

  async run() {
    for (;;) {
      const poll = this.idle() ? null : this.next();
      const wait = poll ? poll.due - performance.now() : LONGEST_WAIT;
      if (wait > 0) {
        await this.sleep(Math.min(wait, LONGEST_WAIT));
        continue;
      }
      await this.once(poll);
      await pause(SPACING);
    }
  }

  async once(poll) {
    const begun = performance.now();
    let response;
    let text;
    try {
      response = await send("GET", poll.path);
      text = await response.text().catch(() => { throw new Refused(0, "The answer broke off."); });
    } catch (problem) {
      await this.without(poll, problem);
      return;
    }
    poll.done(performance.now() - begun, text.length);
    poll.failed = null;
    this.heard();
    try {
      poll.show(JSON.parse(text), response);
    } catch (problem) {
      // A fault of this page, or a control plane of another version.
      this.tell(`This page cannot show the answer of ${poll.path}: ${problem.message}`);
    }
  }

  async without(poll, problem) {
    poll.failed = problem;
    if (this.locked) return;
    if (problem.status > 0 && problem.status < 500) {
      poll.due = performance.now() + LONGEST_WAIT;
      this.tell(`${poll.path}: ${problem.message}`);
      return;
    }
    this.failures += 1;
    // Not all viewers at the same moment.
    const wait = Math.min(LONGEST_WAIT, 1000 * 2 ** Math.min(this.failures - 1, 5)) * (0.75 + Math.random() / 4);
    poll.due = performance.now() + wait;
    this.broken(wait, problem);
    await pause(wait);
  }

  // Server-sent events for as long as the page is open; EventSource cannot send a token.
  async listen(path, views, event) {
    for (;;) {
      while (this.idle() || this.lost || !views().includes(this.view)) await pause(1000);
      const stream = new AbortController();
      this.streams.push(stream);
      const shown = token.get();
      try {
        await this.read(path, stream, event, views);
      } catch (problem) {
        if (problem.status === 401 && shown === token.get()) this.asksForToken(problem.message);
        else if (!stream.signal.aborted || stream.silent) this.suspect();
      }
      stream.abort();
      this.streams = this.streams.filter((one) => one !== stream);
      await pause(1500);
    }
  }

  async read(path, stream, event, views) {
    const response = await fetch(path, { headers: headers({}), signal: stream.signal, cache: "no-store" });
    if (!response.ok) throw await refusal(response);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    let kind = "";
    let timer = 0;
    try {
      for (;;) {
        clearTimeout(timer);
        timer = setTimeout(() => { stream.silent = true; stream.abort(); }, path === "/events" ? 4 * SILENCE : SILENCE);
        const { value, done } = await reader.read();
        if (done) throw new Refused(0, "The stream ended.");
        if (!views().includes(this.view)) return;
        const lines = (rest + value).split("\n");
        rest = lines.pop();
        if (rest.length > LINE) throw new Refused(0, "The stream has a line without end.");
        for (const line of lines) {
          if (line.startsWith("event:")) kind = line.slice(6).trim();
          else if (line.startsWith("data:")) event(kind, JSON.parse(line.slice(5)));
        }
      }
    } finally {
      clearTimeout(timer);
    }
  }
}

export const board = new Board();
