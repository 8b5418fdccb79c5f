// What happens on a page after it was loaded? It follows the study, draws its figures and asks for things.
"use strict";

const main = document.getElementById("main");
const API = main.dataset.api;
const byId = (id) => document.getElementById(id);
const QUIET_MS = 1000; // between two fetches of the fragment, however much happens
const POLL_MS = 10000; // where no event comes through
const ANNOUNCE_MS = 15000; // between two words to a screen reader
const KINDS = ["message", "started", "train", "eval", "checkpoint", "ended", "study", "trial"];

// -- asking the API -----------------------------------------------------------------------------------------
class Refused extends Error {
  constructor(problem, status) {
    super([problem.detail || problem.title || `The answer was ${status}.`, ...(problem.problems || [])]
      .filter((text, i, all) => all.indexOf(text) === i).join("\n"));
    this.status = status;
    this.study = problem.study_id; // that has the name already
  }
}

async function call(method, address, body = null, headers = {}) {
  const sent = body === null ? {} : { body: JSON.stringify(body) };
  const type = body === null ? {} : { "Content-Type": "application/json" };
  let answer;
  try {
    answer = await fetch(address, { method, ...sent, headers: { Accept: "application/json", ...type, ...headers } });
  } catch {
    throw new Refused({ detail: "The service does not answer. Is it still running?" }, 0);
  }
  if (answer.status === 401 || answer.redirected) toLogin();
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(said, answer.status);
  return { said, status: answer.status };
}

// -- words and elements -------------------------------------------------------------------------------------
const whole = (value) => value.toLocaleString("en");
const plural = (count, word) => `${whole(count)} ${word}${count === 1 ? "" : "s"}`;
const digits = (value) => (value >= 100 ? whole(Math.round(value)) : String(Number(value.toPrecision(3))));

function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  made.append(text);
  Object.entries(attributes).forEach(([name, value]) => made.setAttribute(name, value));
  return made;
}

function toLogin() {
  location.assign(`/login?${new URLSearchParams({ next: location.pathname + location.search })}`);
}

function tell(text, kind = "", study = "") {
  const told = byId("told");
  told.hidden = !text;
  told.className = `told ${kind}`;
  told.textContent = text;
  if (study) told.append(" ", element("a", "Look at it.", { href: `/studies/${encodeURIComponent(study)}` }));
  if (text) told.scrollIntoView({ block: "nearest" });
}

// -- buttons ------------------------------------------------------------------------------------------------
function sure(question, label, no) {
  const dialog = byId("sure");
  byId("sure-question").textContent = question;
  byId("sure-yes").textContent = label;
  byId("sure-no").textContent = no;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((done) => dialog.addEventListener("close", () => done(dialog.returnValue === "yes"), { once: true }));
}

async function ask(button) {
  const { ask: address, method, verb, sure: question, then } = button.dataset;
  const no = verb === "cancel" ? "Keep running" : "Cancel";
  if (!question || (await sure(question, `Yes, ${verb}`, no))) await request(button, verb, () => call(method, address), then);
}

// `then`: where to go once it is done; else this page tells what came of it.
let leaving = false; // what this page shows may be gone
async function request(button, verb, asking, then = "") {
  button.disabled = true;
  leaving = Boolean(then);
  try {
    const { said, status } = await asking();
    if (then && status === 204) return location.assign(then);
    tell(said.answer === "" ? "" : `Asked for: ${verb}. The process that runs the study will answer.`);
  } catch (refused) {
    tell(refused.message, "bad");
  }
  button.disabled = leaving = false;
  refresh(true);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-ask]");
  if (button) ask(button);
  if (event.target.closest("#ask-extend")) { byId("extend").showModal(); tellExtension(); }
  if (event.target.closest("#sign-out")) signOut();
  const png = event.target.closest("button[data-png]");
  if (png) savePng(png);
  const link = event.target.closest("a[data-query]");
  if (link && live && !event.ctrlKey && !event.metaKey && !event.shiftKey && event.button === 0) {
    event.preventDefault();
    visit(link.search, link.hash);
  }
});

// More trials: what they add is told before they are asked for.
function tellExtension() {
  const { arm, trials } = byId("extend-form").elements;
  const { replicates, most, hours, chips } = arm.selectedOptions[0].dataset;
  const [more, each] = [Number(trials.value), Number(replicates)];
  trials.max = most;
  const cost = hours ? `, about ${digits(more * each * hours * chips)} chip-hours based on its runs so far` : "";
  const what = each === 1 ? plural(more, "run") : `${plural(more, "run")} in each of ${each} replicates, ${whole(more * each)} in all`;
  byId("extend-adds").textContent = trials.checkValidity() ? `This adds ${what}${cost}.` : `A whole number from 1 to ${whole(Number(most))}.`;
}

document.addEventListener("input", (event) => { if (event.target.closest("#extend-form")) tellExtension(); });
document.addEventListener("submit", (event) => {
  const form = event.target.closest("#extend-form");
  if (!form || event.submitter?.value !== "yes") return;
  const arms = { [form.elements.arm.value]: Number(form.elements.trials.value) };
  request(byId("ask-extend"), "extend", () => call("POST", form.dataset.extend, { arms }));
});

async function signOut() {
  try {
    await call("DELETE", `${API}/session`);
    location.assign("/login");
  } catch (refused) {
    tell(refused.message, "bad");
  }
}

document.addEventListener("change", (event) => {
  if (event.target.closest("#filters")) visit(`?${new URLSearchParams(new FormData(byId("filters")))}`, "");
  if (event.target.closest(".switch")) {
    unit = event.target.value;
    document.querySelectorAll(".plot").forEach((div) => { if (drawn.has(div)) draw(div); });
  }
});

function visit(search, hash) {
  history.replaceState(null, "", location.pathname + search);
  refresh(true).then(() => { if (hash) document.querySelector(hash)?.scrollIntoView(); });
}

// -- the parts that change ------------------------------------------------------------------------------------
const live = main.dataset.live;
const regions = new Map(); // name -> its HTML as it came
let version = "";
let asked = 0; // a number for each fetch: an answer that was overtaken is thrown away
let timer = null;
let last = -QUIET_MS;

function refresh(now = false) {
  if (!live || leaving || document.hidden) return Promise.resolve();
  const wait = now ? 0 : Math.max(0, last + QUIET_MS - performance.now());
  if (now) { clearTimeout(timer); timer = null; }
  if (wait) {
    timer ??= setTimeout(() => { timer = null; refresh(true); }, wait);
    return Promise.resolve();
  }
  last = performance.now();
  return load();
}

async function load() {
  const mine = ++asked;
  const query = new URLSearchParams(location.search);
  query.set("figures", version);
  try {
    const answer = await fetch(`${live}?${query}`);
    if (answer.status === 401 || answer.redirected) toLogin();
    if (answer.status === 404 && !leaving) tell("This was deleted.", "bad");
    if (!answer.ok) throw new Error(String(answer.status));
    const text = await answer.text();
    if (mine === asked) take(new DOMParser().parseFromString(text, "text/html"));
    pulse(listening() ? "live" : "polling");
  } catch {
    pulse("lost");
  }
}

function take(fresh) {
  const drawings = readDrawings(fresh);
  fresh.querySelectorAll("[data-region]").forEach((region) => {
    const there = document.querySelector(`[data-region="${region.dataset.region}"]`);
    if (there) swap(there, region);
  });
  localTimes(document);
  if (drawings) watchPlots(); // new data, or new places for it
  announce();
}

function swap(there, fresh) {
  const name = fresh.dataset.region;
  if (regions.get(name) === fresh.innerHTML || selecting(there) || there.querySelector("dialog[open]")) return;
  regions.set(name, fresh.innerHTML);
  if ("announce" in fresh.dataset) there.dataset.announce = fresh.dataset.announce;
  const focused = there.contains(document.activeElement) ? document.activeElement.id : "";
  const kept = [...there.querySelectorAll("details[id], .scroll[id]")].map((old) => [old.id, old.open, old.scrollLeft, atEnd(old) ? Infinity : old.scrollTop]);
  const ticked = [...there.querySelectorAll("input[type=checkbox]:checked")].map((each) => each.id);
  there.replaceChildren(...fresh.childNodes);
  for (const id of ticked) if (byId(id)) byId(id).checked = true;
  for (const [id, open, left, top] of kept) {
    const now = byId(id);
    if (now) { now.open = open; now.scrollLeft = left; now.scrollTop = Math.min(top, now.scrollHeight); }
  }
  there.querySelectorAll(".switch input").forEach((each) => { each.checked = each.value === unit; });
  if (there.querySelector(".plot")) watchPlots();
  if (focused) byId(focused)?.focus({ preventScroll: true });
}

// What is read from its end stays there when more comes, unless its reader has scrolled up.
const atEnd = (box) => "end" in box.dataset && box.scrollTop + box.clientHeight >= box.scrollHeight - 4;

function selecting(there) {
  const selection = getSelection();
  return !selection.isCollapsed && there.contains(selection.anchorNode);
}

let announcedAt = 0;
let announced = document.querySelector("[data-announce]")?.dataset.announce;
function announce() {
  const words = document.querySelector("[data-announce]")?.dataset.announce;
  if (!words || words === announced || performance.now() - announcedAt < ANNOUNCE_MS) return;
  announced = words;
  announcedAt = performance.now();
  byId("announced").textContent = words;
}

function localTimes(root) {
  const two = (number) => String(number).padStart(2, "0");
  root.querySelectorAll("time").forEach((time) => {
    const at = new Date(time.dateTime);
    const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
    time.textContent = `${day} ${two(at.getHours())}:${two(at.getMinutes())}`;
    time.title = time.dateTime;
  });
}

// -- events -------------------------------------------------------------------------------------------------
let source = null;
const listening = () => source !== null && source.readyState === EventSource.OPEN;

function listen() {
  if (!live || document.hidden || source) return;
  source = new EventSource(main.dataset.events);
  KINDS.forEach((kind) => source.addEventListener(kind, () => refresh()));
  source.onopen = () => { pulse("live"); refresh(); }; // what happened before it was open
  source.onerror = () => {
    pulse("polling");
    if (source.readyState === EventSource.CLOSED) source = null; // refused for good: the next poll tries again
  };
}

function rest() {
  source?.close(); // a browser has six connections to a host, and hidden pages need none
  source = null;
}

function pulse(state) {
  const words = { live: "live", polling: `every ${POLL_MS / 1000} s`, lost: "no answer" };
  byId("pulse").dataset.state = state;
  byId("pulse").textContent = words[state];
}

if (live) {
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) rest();
    else { listen(); refresh(); }
  });
  addEventListener("pagehide", rest);
  setInterval(() => { listen(); refresh(); }, POLL_MS);
  document.querySelectorAll("[data-region]").forEach((region) => regions.set(region.dataset.region, region.innerHTML));
}

// -- figures ------------------------------------------------------------------------------------------------
let drawings = {};
let unit = document.querySelector(".switch input:checked")?.value || "chip-hours";
const drawn = new Set();

function readDrawings(root) {
  const element = root.getElementById("drawings");
  if (!element) return null;
  version = element.dataset.version;
  drawings = JSON.parse(element.textContent);
  return drawings;
}

let plotly = null;
function plotlyThere() {
  plotly ??= new Promise((done, failed) => {
    const script = document.createElement("script");
    script.src = main.dataset.plotly;
    script.onload = done;
    script.onerror = failed;
    document.head.append(script);
  });
  return plotly;
}

const seen = new IntersectionObserver((entries) => {
  entries.filter((entry) => entry.isIntersecting).forEach((entry) => draw(entry.target));
}, { rootMargin: "300px" });

function watchPlots() {
  for (const div of [...drawn]) if (!div.isConnected) { drawn.delete(div); Plotly.purge(div); }
  seen.disconnect(); // told anew of those in sight, which then are drawn with what is known now
  document.querySelectorAll(".plot").forEach((div) => seen.observe(div));
  document.querySelectorAll("[data-png]").forEach((button) => { button.hidden = false; });
}

async function draw(div) {
  await plotlyThere();
  const given = drawings[div.dataset.figure]?.[Number(div.dataset.index)];
  if (!given || !div.isConnected) return;
  drawn.add(div);
  Figures.draw(div, given, { unit });
}

async function savePng(button) {
  await plotlyThere();
  const [study, key] = [document.querySelector("h1").textContent, button.dataset.png];
  const title = button.parentElement.querySelector(".name").textContent;
  await Figures.png(drawings[key][0], `${study}: ${title}`, `${study}-${key}`);
}

Figures.dark.addEventListener("change", () => drawn.forEach((div) => draw(div)));

// -- signing in -----------------------------------------------------------------------------------------------
byId("login")?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const answer = await fetch(`${API}/session`, { method: "POST", body: new URLSearchParams(new FormData(event.target)) }).catch(() => null);
  if (!answer?.ok) {
    const said = await answer?.json().catch(() => ({}));
    tell(said?.detail || "The service does not answer. Is it still running?", "bad");
    return;
  }
  const next = new URL(new URLSearchParams(location.search).get("next") || "/", location.origin);
  location.assign(next.origin === location.origin ? next.href : "/");
});

document.querySelectorAll("[data-end]").forEach((box) => { box.scrollTop = box.scrollHeight; });
localTimes(document);
if (readDrawings(document)) watchPlots();
listen();
