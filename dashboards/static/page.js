// What happens on a page after it was loaded? It follows the study, draws its figures and asks for things.
"use strict";

const main = document.getElementById("main");
const API = main.dataset.api;
const byId = (id) => document.getElementById(id);
const QUIET_MS = 1000; // between two fetches of the fragment, however much happens
const POLL_MS = 10000; // where no event comes through
const [PLOT_HEIGHT, LINE_HEIGHT] = [290, 19];
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

async function post(address, body, headers = {}) {
  let answer;
  try {
    answer = await fetch(address, {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "application/json", ...headers },
      body: JSON.stringify(body),
    });
  } catch {
    throw new Refused({ detail: "The service does not answer. Is it still running?" }, 0);
  }
  if (answer.status === 401 || answer.redirected) toLogin();
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(said, answer.status);
  return { said, status: answer.status };
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
function sure(question, label) {
  const dialog = byId("sure");
  byId("sure-question").textContent = question;
  byId("sure-yes").textContent = label;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((done) => dialog.addEventListener("close", () => done(dialog.returnValue === "yes"), { once: true }));
}

async function ask(button) {
  const { ask: address, verb, sure: question } = button.dataset;
  if (question && !(await sure(question, `Yes, ${verb}`))) return;
  button.disabled = true;
  try {
    const { said } = await post(address, {});
    if (said.answer) tell(said.answer, "bad");
    else tell(said.answer === "" ? "" : `Asked for: ${verb}. The process that runs the study will answer.`);
  } catch (refused) {
    tell(refused.message, "bad");
  } finally {
    button.disabled = false;
    refresh(true);
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-ask]");
  if (button) ask(button);
  const link = event.target.closest("a[data-query]");
  if (link && live && !event.ctrlKey && !event.metaKey && !event.shiftKey && event.button === 0) {
    event.preventDefault();
    visit(link.search, link.hash);
  }
});

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
  if (!live || document.hidden) return Promise.resolve();
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
  if (regions.get(name) === fresh.innerHTML || selecting(there)) return;
  regions.set(name, fresh.innerHTML);
  if ("announce" in fresh.dataset) there.dataset.announce = fresh.dataset.announce;
  const focused = there.contains(document.activeElement) ? document.activeElement.id : "";
  const kept = [...there.querySelectorAll("details[id], .scroll[id]")].map((old) => [old.id, old.open, old.scrollLeft, old.scrollTop]);
  there.replaceChildren(...fresh.childNodes);
  for (const [id, open, left, top] of kept) {
    const now = byId(id);
    if (now) { if (open) now.open = true; now.scrollLeft = left; now.scrollTop = top; }
  }
  there.querySelectorAll(".switch input").forEach((each) => { each.checked = each.value === unit; });
  if (there.querySelector(".plot")) watchPlots();
  if (focused) byId(focused)?.focus({ preventScroll: true });
}

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
const dark = matchMedia("(prefers-color-scheme: dark)");

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
}

async function draw(div) {
  await plotlyThere();
  const given = drawings[div.dataset.figure]?.[Number(div.dataset.index)];
  if (!given || !div.isConnected) return;
  const figure = dark.matches ? JSON.parse(JSON.stringify(given).replaceAll("#0072B2", "#4aa3d8")) : given;
  const switched = figure.data.some((trace) => trace.meta);
  const data = figure.data.map((trace) => ({ ...trace, ...(trace.meta ? { visible: trace.meta === unit } : {}) }));
  drawn.add(div);
  const layout = { ...laidOut(figure.layout, data, switched), ...roomFor(figure.layout, data, div.clientWidth) };
  Plotly.react(div, data, layout, { responsive: true, displayModeBar: false });
}

// The legend stands below the axis on as many lines as it needs, and takes no height from the plot.
function roomFor(layout, data, width) {
  const names = data.filter((trace) => trace.showlegend !== false && trace.visible !== false).map((trace) => trace.name);
  const margin = { ...layout.margin, t: layout.title?.text ? 36 : 12, b: 24 };
  if (layout.showlegend === false || !names.length) return { height: PLOT_HEIGHT, margin };
  const widest = 48 + 6.3 * Math.max(...names.map((name) => name.length));
  const lines = Math.ceil(new Set(names).size / Math.max(1, Math.floor((width - 70) / widest)));
  const legend = { ...layout.legend, yref: "container", y: 0, yanchor: "bottom", font: { size: 11.5 } };
  return { height: PLOT_HEIGHT + lines * LINE_HEIGHT, margin, legend };
}

function laidOut(layout, data, switched) {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const axis = (given) => ({ ...given, gridcolor: colour("--grid"), linecolor: colour("--edge"), showline: true });
  const xaxis = axis(layout.xaxis || {});
  if (xaxis.type === "category") xaxis.tickangle = -35;
  if (switched) Object.assign(xaxis, { title: { ...xaxis.title, text: unit }, tickangle: 0, ...fewTicks(data) });
  return {
    ...layout,
    xaxis,
    yaxis: axis(layout.yaxis || {}),
    shapes: (layout.shapes || []).map((shape) => ({ ...shape, line: { ...shape.line, color: colour("--edge") } })),
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colour("--ink") },
    hoverlabel: { bgcolor: colour("--wash"), bordercolor: colour("--edge"), font: { color: colour("--ink") } },
    uirevision: switched ? unit : "same",
  };
}

// Within a decade plotly labels every step of a logarithmic axis, and the labels meet: a few are chosen here.
function fewTicks(data) {
  const x = data.filter((trace) => trace.visible).flatMap((trace) => trace.x).filter((value) => value > 0);
  const [low, high] = [Math.min(...x), Math.max(...x)];
  if (!(high > low && high < 10 * low)) return { tickmode: "auto" };
  const power = 10 ** Math.floor(Math.log10(low));
  const round = [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 60, 80].map((step) => Number((step * power).toPrecision(3)));
  const apart = Math.log(high / low) / 4;
  const tickvals = [];
  for (const tick of round.filter((value) => value >= low * 0.97 && value <= high * 1.03)) {
    if (!tickvals.length || Math.log(tick / tickvals.at(-1)) > apart) tickvals.push(tick);
  }
  return { tickmode: "array", tickvals, ticktext: tickvals.map(String) };
}

dark.addEventListener("change", () => drawn.forEach((div) => draw(div)));

// -- a new study --------------------------------------------------------------------------------------------
const form = byId("new");

function wanted() {
  const given = Object.fromEntries(new FormData(form));
  const preset = { name: given.preset, size: given.size };
  for (const name of ["trials", "replicates"]) if (given[name]) preset[name] = Number(given[name]);
  if (given.pair) preset.pair = given.pair;
  const lines = given.set.split("\n").filter((line) => line.trim());
  if (lines.length) preset.set = Object.fromEntries(lines.map(setting));
  return { preset, ...(given.name ? { name: given.name } : {}) };
}

function setting(line) {
  const at = line.indexOf("=");
  if (at < 1) throw new Refused({ detail: `“${line.trim()}” is not understood. Write it like optimizer.beta1 = 0.8.` });
  const text = line.slice(at + 1).trim();
  let value = text;
  try { value = JSON.parse(text); } catch { /* a word */ }
  return [line.slice(0, at).trim(), value];
}

let planned = 0;
async function plan() {
  const mine = ++planned;
  byId("create").disabled = true;
  if (!form.checkValidity()) return showPlan([paragraph("Some of what you entered cannot be meant: it is marked.", "bad")]);
  try {
    const { said } = await post(`${API}/plans`, { preset: wanted().preset });
    if (mine !== planned) return;
    showPlan(costs(said));
    byId("create").disabled = false;
    byId("create").textContent = `Create and start ${said.total.runs.toLocaleString("en")} runs`;
  } catch (refused) {
    if (mine === planned) showPlan(refused.message.split("\n").map((text) => paragraph(text, "bad")));
  }
}

function showPlan(parts) {
  byId("plan").replaceChildren(...parts);
  byId("plan").ariaBusy = "false";
}

function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  made.append(text);
  Object.entries(attributes).forEach(([name, value]) => made.setAttribute(name, value));
  return made;
}
const paragraph = (text, kind) => element("p", text, { class: kind });

function costs(said) {
  const number = (value) => (value >= 100 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(3))));
  const spent = (value) => (value === null || value === undefined ? "unknown" : number(value));
  const time = (hours) => {
    if (hours === null || hours === undefined) return "unknown";
    if (hours >= 1) return `${number(hours)} h`;
    return hours * 60 >= 1 ? `${number(hours * 60)} min` : `${number(hours * 3600)} s`;
  };
  const { total } = said;
  const tiles = element("dl", "", { class: "tiles" });
  const tile = (name, value, beneath) => {
    const box = element("div", "");
    box.append(element("dt", name), element("dd", value), element("dd", beneath, { class: "beneath" }));
    tiles.append(box);
  };
  tile("runs", total.runs.toLocaleString("en"), `${said.arms.length} arms`);
  tile("chip-hours", spent(total.chip_hours), `${said.chips_per_run} chip${said.chips_per_run === 1 ? "" : "s"} a run`);
  tile("run time", time(total.run_hours), "of all runs together");
  tile("wall-clock, about", time(said.wall_hours), `${said.slots} run${said.slots === 1 ? "" : "s"} at a time`);
  const table = element("table", element("caption", "What each arm takes", { class: "unseen" }), { class: "wide" });
  const header = table.createTHead().insertRow();
  const text = ["phase", "method", "after"];
  for (const name of ["arm", "phase", "method", "runs", "each", "run time", "chip-hours", "after"]) {
    header.append(element("th", name, { scope: "col", ...(text.includes(name) ? { class: "text" } : {}) }));
  }
  const body = table.createTBody();
  for (const arm of said.arms) {
    const row = body.insertRow();
    row.append(element("th", arm.arm, { scope: "row" }), element("td", arm.phase, { class: "text" }), element("td", arm.method, { class: "text" }));
    for (const cell of [arm.cost.runs.toLocaleString("en"), time(arm.hours_per_run), time(arm.cost.run_hours), spent(arm.cost.chip_hours)]) row.append(element("td", cell));
    row.append(element("td", arm.after || "–", { class: "text" }));
  }
  const scroll = element("div", table, { class: "scroll", tabindex: "0", role: "region", "aria-label": "Arms and what they take" });
  const more = element("details", element("summary", "Arm by arm"), { id: "plan-arms" });
  more.open = byId("plan-arms")?.open || false;
  more.append(scroll);
  return [tiles, ...said.notes.map((note) => paragraph(note, "small")), more];
}

if (form) {
  let key = newKey(); // the same for a second try, so that a lost answer makes no second study
  let pause = null;
  const changed = () => {
    key = newKey();
    planned += 1; // what was asked before is overtaken
    byId("plan").ariaBusy = "true";
    byId("create").disabled = true;
    byId("create").textContent = "Create and start";
    clearTimeout(pause);
    pause = setTimeout(plan, 300);
  };
  const fitSizes = () => {
    const allowed = form.querySelector("[name=preset]:checked").dataset.sizes.split(" ");
    [...form.elements.size.options].forEach((option) => { option.disabled = option.hidden = !allowed.includes(option.value); });
    if (form.elements.size.selectedOptions[0]?.disabled) form.elements.size.value = allowed[0];
  };
  form.addEventListener("input", () => { fitSizes(); changed(); });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (byId("create").disabled) return;
    byId("create").disabled = true;
    try {
      const { said, status } = await post(`${API}/studies`, wanted(), { "Idempotency-Key": key });
      tell(status === 200 ? "An equal study of that name is there: this is it." : "");
      location.assign(`/studies/${encodeURIComponent(said.study_id)}`);
    } catch (refused) {
      tell(refused.message, "bad", refused.study);
      byId("create").disabled = false;
    }
  });
  fitSizes();
  plan();
}

function newKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

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

localTimes(document);
if (readDrawings(document)) watchPlots();
listen();
