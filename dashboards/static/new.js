// What would a new study cost, and how is it created? After page.js, whose words it uses.
"use strict";

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

const MARKED = "The cost is shown once the marked fields are right.";
let planned = 0;
async function plan() {
  const mine = ++planned;
  byId("create").disabled = true;
  FIELDS.forEach((name) => mark(name, wrong(form.elements[name])));
  if (!form.checkValidity()) return showPlan([paragraph(MARKED)]);
  try {
    const { said } = await call("POST", `${API}/plans`, { preset: wanted().preset });
    if (mine !== planned) return;
    showPlan(costs(said));
    byId("create").disabled = false;
    byId("create").textContent = `Create and start ${whole(said.total.runs)} runs`;
  } catch (refused) {
    if (mine !== planned) return;
    const field = fieldOf(refused.message);
    mark(field, refused.message);
    if (field === "set") byId("more").open = true;
    showPlan(field ? [paragraph(MARKED)] : refused.message.split("\n").map((text) => paragraph(text, "bad")));
  }
}

// What is wrong with a field, in a sentence beside it.
const FIELDS = ["trials", "replicates", "pair", "name", "set"];
const CALLED = { trials: "Trials", replicates: "Replicates", pair: "Languages" };
function wrong({ name, validity, min, max }) {
  if (validity.valid) return "";
  if (validity.rangeUnderflow) return `${CALLED[name]} must be at least ${min}.`;
  if (validity.rangeOverflow) return `${CALLED[name]} must be at most ${max}.`;
  if (validity.patternMismatch) return `${CALLED[name]} must be two codes joined by a hyphen, such as de-en.`;
  return `${CALLED[name]} must be a whole number.`;
}

// The field that the service's sentence is about, where that is plain.
function fieldOf(sentence) {
  const given = Object.fromEntries(new FormData(form));
  if (given.pair && sentence.includes(given.pair)) return "pair";
  const paths = given.set.split("\n").map((line) => line.split("=")[0].trim()).filter(Boolean);
  return paths.some((path) => sentence.includes(path)) ? "set" : "";
}

function mark(name, sentence) {
  const beside = name && byId(`wrong-${name}`);
  if (!beside) return;
  beside.textContent = sentence;
  const field = form.elements[name];
  if (sentence) { field.setAttribute("aria-invalid", "true"); field.setAttribute("aria-describedby", beside.id); }
  else { field.removeAttribute("aria-invalid"); field.removeAttribute("aria-describedby"); }
}

function showPlan(parts) {
  byId("plan").replaceChildren(...parts);
  byId("plan").ariaBusy = "false";
}

const paragraph = (text, kind) => element("p", text, { class: kind });
const spent = (value) => (value === null ? "unknown" : digits(value));
function time(hours) {
  if (hours === null) return "unknown";
  if (hours >= 1) return `${digits(hours)} h`;
  return hours * 60 >= 1 ? `${digits(hours * 60)} min` : `${digits(hours * 3600)} s`;
}

function costs(said) {
  const { total } = said;
  const tiles = element("dl", "", { class: "tiles" });
  const tile = (name, value, beneath) => {
    const box = element("div", "");
    box.append(element("dt", name), element("dd", value), element("dd", beneath, { class: "beneath" }));
    tiles.append(box);
  };
  tile("runs", whole(total.runs), `${said.arms.length} arms`);
  tile("chip-hours", spent(total.chip_hours), `${plural(said.chips_per_run, "chip")} a run`);
  tile("compute time", time(total.run_hours), "sum of all runs");
  tile("wall-clock, about", time(said.wall_hours), `${plural(said.slots, "parallel run")}`);
  const table = element("table", element("caption", "What each arm takes", { class: "unseen" }), { class: "wide" });
  const header = table.createTHead().insertRow();
  const text = ["phase", "method", "after"];
  for (const name of ["arm", "phase", "method", "runs", "each", "compute time", "chip-hours", "after"]) {
    header.append(element("th", name, { scope: "col", ...(text.includes(name) ? { class: "text" } : {}) }));
  }
  const body = table.createTBody();
  for (const arm of said.arms) {
    const row = body.insertRow();
    row.append(element("th", arm.arm, { scope: "row" }), element("td", arm.phase, { class: "text" }), element("td", arm.method, { class: "text" }));
    for (const cell of [whole(arm.cost.runs), time(arm.hours_per_run), time(arm.cost.run_hours), spent(arm.cost.chip_hours)]) row.append(element("td", cell));
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
      const { said, status } = await call("POST", `${API}/studies`, wanted(), { "Idempotency-Key": key });
      tell(status === 200 ? "A study with the same name and spec exists; opening it." : "");
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

