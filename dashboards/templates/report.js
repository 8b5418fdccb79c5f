// The report's own: it unpacks plotly, draws what comes into sight, and all of it before it is printed.
let drawings = {};
const plots = [...document.querySelectorAll(".plot")];
const drawn = new Set();
let unit = document.querySelector(".switch input:checked")?.value || "";

async function unpacked(id) {
  const packed = atob(document.getElementById(id).textContent.trim());
  const bytes = Uint8Array.from(packed, (letter) => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

async function unpack() {
  const [text, data] = await Promise.all([unpacked("plotly"), unpacked("drawings")]);
  const script = document.createElement("script");
  script.textContent = text;
  document.head.append(script);
  drawings = JSON.parse(data);
}

function draw(div, paper = false) {
  drawn.add(div);
  return Figures.draw(div, drawings[div.dataset.figure][Number(div.dataset.index)], { unit, paper });
}

function start() {
  const seen = new IntersectionObserver((entries) => {
    entries.filter((entry) => entry.isIntersecting && !drawn.has(entry.target)).forEach((entry) => draw(entry.target));
  }, { rootMargin: "400px" });
  plots.forEach((div) => seen.observe(div));
  document.querySelectorAll(".switch input").forEach((input) => input.addEventListener("change", () => {
    unit = input.value;
    input.closest(".figure").querySelectorAll(".plot").forEach((div) => draw(div));
  }));
  document.querySelectorAll("[data-png]").forEach((button) => {
    button.hidden = false;
    const { png: key } = button.dataset;
    const title = `${document.querySelector("h1").textContent}: ${button.parentElement.querySelector(".name").textContent}`;
    button.addEventListener("click", () => Figures.png(drawings[key][0], title, `${document.querySelector("h1").textContent}-${key}`));
  });
  Figures.dark.addEventListener("change", () => drawn.forEach((div) => draw(div)));
  addEventListener("beforeprint", () => {
    document.querySelectorAll("details").forEach((each) => { each.open = true; });
    plots.forEach((div) => draw(div, true));
  });
  addEventListener("afterprint", () => drawn.forEach((div) => draw(div)));
}

if (typeof DecompressionStream === "undefined") document.getElementById("no-figures").hidden = false;
else unpack().then(start);
