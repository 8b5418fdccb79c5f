"use strict";
const drawings = JSON.parse(document.getElementById("drawings").textContent);
const plots = [...document.querySelectorAll(".plot")];
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const LIGHT = { ink: "#1b1f24", grid: "#e6e9ed", line: "#8b939d" };
const DARK = { ink: "#e8eaed", grid: "#2c3138", line: "#6d757f" };

function themed(colours) {
  const axes = {};
  for (const axis of ["xaxis", "yaxis"]) {
    axes[axis + ".gridcolor"] = colours.grid;
    axes[axis + ".linecolor"] = colours.line;
    axes[axis + ".showline"] = true;
  }
  return { "font.color": colours.ink, ...axes };
}

function paint(div, colours) {
  const change = themed(colours);
  (div.layout.shapes || []).forEach((_, i) => { change["shapes[" + i + "].line.color"] = colours.line; });
  Plotly.relayout(div, change);
}

function paintAll(printing) {
  const colours = !printing && dark.matches ? DARK : LIGHT;
  plots.forEach((div) => paint(div, colours));
}

Promise.all(plots.map((div) => {
  const { data, layout } = drawings[div.dataset.figure][Number(div.dataset.index)];
  const family = getComputedStyle(document.body).fontFamily;
  return Plotly.newPlot(div, data, { ...layout, font: { family, size: 12 } }, { responsive: true, displayModeBar: false });
})).then(() => paintAll(false));

document.querySelectorAll(".switch input").forEach((input) => input.addEventListener("change", () => {
  const figure = input.closest(".figure");
  figure.querySelectorAll(".plot").forEach((div) => {
    Plotly.restyle(div, { visible: div.data.map((trace) => trace.meta === input.value) });
    Plotly.relayout(div, { "xaxis.title.text": input.value, "xaxis.autorange": true, "yaxis.autorange": true });
  });
}));
dark.addEventListener("change", () => paintAll(false));
window.addEventListener("beforeprint", () => {
  document.querySelectorAll("details").forEach((each) => { each.open = true; });
  paintAll(true);
});
window.addEventListener("afterprint", () => paintAll(false));
