// How is a panel drawn? plotly over the figures of a page: colours of the theme, labels beside dots, PNG.
"use strict";
const Figures = (() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const LIGHT = { ink: "#1b1f24", soft: "#5b6470", grid: "#e6e9ed", line: "#8b939d", paper: "#ffffff", blue: "#0072B2" };
  const DARK = { ink: "#e8eaed", soft: "#a3abb5", grid: "#2c3138", line: "#6d757f", paper: "#14171b", blue: "#4aa3d8" };
  const [PICTURE_HEIGHT, MARGIN] = [284, { l: 46, r: 14, t: 10, b: 42 }];
  const PNG = { width: 1000, height: 620, scale: 2 };
  const copy = (data) => JSON.parse(JSON.stringify(data));

  // `unit`: of a figure with a switch; `paper`: as if printed; `height`: of the whole, where the page decides.
  function draw(div, given, { unit = "", paper = false, height = 0, title = "", legend = false } = {}) {
    const colours = dark.matches && !paper ? DARK : LIGHT;
    const figure = JSON.parse(JSON.stringify(given).replaceAll("#0072B2", colours.blue));
    const switched = figure.data.some((trace) => trace.meta);
    const named = figure.data.filter((trace) => (trace.mode || "").includes("text"));
    const texts = named.map((trace) => ({ x: trace.x[0], y: trace.y[0], text: trace.text[0], strong: trace.textfont?.weight > 400 }));
    figure.data.forEach((trace) => {
      if (trace.meta) trace.visible = trace.meta === unit;
      if (named.includes(trace)) trace.mode = "markers";
    });
    const layout = laidOut(figure, colours, switched ? unit : "");
    layout.height = height || Math.max(layout.height || 0, 330) - 44; // without the title, which the page has
    if (div.closest(".picture")) layout.height = PICTURE_HEIGHT;
    if (title) Object.assign(layout, { title: { text: title, x: 0.02, xanchor: "left", font: { size: 18 } }, margin: { ...MARGIN, t: 56 } });
    Object.assign(layout, { showlegend: legend, paper_bgcolor: paper ? colours.paper : "rgba(0,0,0,0)" });
    return Plotly.react(div, figure.data, layout, { responsive: true, displayModeBar: false })
      .then(() => { if (texts.length) return Plotly.relayout(div, { annotations: beside(div, texts, colours) }); });
  }

  function laidOut(figure, colours, unit) {
    const { layout, data } = figure;
    const axis = (given) => ({ ...given, gridcolor: colours.grid, linecolor: colours.line, showline: true });
    const xaxis = axis(layout.xaxis || {});
    if (unit) Object.assign(xaxis, { title: { ...xaxis.title, text: unit }, tickangle: 0, ...fewTicks(data) });
    const yaxis = axis(layout.yaxis || {});
    Object.assign(yaxis, yaxis.type === "category" ? { dtick: 1 } : { nticks: 6 });
    return {
      ...layout, xaxis, yaxis, title: undefined, margin: MARGIN,
      shapes: (layout.shapes || []).map((shape) => ({ ...shape, line: { ...shape.line, color: colours.line } })),
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colours.ink },
      hoverlabel: { bgcolor: colours.paper, bordercolor: colours.line, font: { color: colours.ink } },
      uirevision: unit || "same",
    };
  }

  // Of a logarithmic axis plotly labels every step, as single digits, and the labels meet: a few are chosen here.
  function fewTicks(data) {
    const x = data.filter((trace) => trace.visible).flatMap((trace) => trace.x).filter((value) => value > 0);
    const [low, high] = [Math.min(...x), Math.max(...x)];
    if (!(high > low)) return { tickmode: "auto", nticks: 6 };
    const steps = high < 10 * low ? [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8] : high < 300 * low ? [1, 2, 5] : [1];
    const tickvals = [];
    const apart = Math.log(high / low) / 5;
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
      for (const tick of steps.map((step) => Number((step * 10 ** power).toPrecision(3)))) {
        const far = !tickvals.length || Math.log(tick / tickvals.at(-1)) > apart;
        if (far && tick >= low * 0.97 && tick <= high * 1.03) tickvals.push(tick);
      }
    }
    return { tickmode: "array", tickvals, ticktext: tickvals.map((tick) => (tick >= 1e5 ? `${tick / 1e6}M` : String(tick))) };
  }

  // A name beside each dot, where it meets no other name and no dot; bold ones first. What finds no room is
  // told by the pointer alone.
  function beside(div, texts, colours) {
    const { xaxis, yaxis } = div._fullLayout;
    const ruler = document.createElement("canvas").getContext("2d");
    ruler.font = `12px ${getComputedStyle(document.body).fontFamily}`;
    const at = texts.map((each) => [xaxis.d2p(each.x), yaxis.d2p(each.y)]);
    const taken = at.map(([x, y]) => [x - 7, y - 7, x + 7, y + 7]);
    const meets = (a, b) => a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];
    const order = texts.map((_, i) => i).sort((i, j) => texts[j].strong - texts[i].strong || texts[j].text.length - texts[i].text.length);
    const found = [];
    for (const i of order) {
      const { text, strong, x, y } = texts[i];
      const lines = text.split("<br>");
      const width = Math.max(...lines.map((line) => ruler.measureText(line).width)) * (strong ? 1.12 : 1) + 4;
      const half = 8 * lines.length;
      const [px, py] = at[i];
      const places = [
        [10, 0, "left"], [-10, 0, "right"], [0, -8 - half, "center"], [0, 8 + half, "center"],
        [8, -4 - half, "left"], [8, 4 + half, "left"], [-8, -4 - half, "right"], [-8, 4 + half, "right"],
        [10, half, "left"], [10, -half, "left"], [-10, half, "right"], [-10, -half, "right"],
      ];
      for (const [dx, dy, anchor] of places) {
        const left = px + dx - (anchor === "right" ? width : anchor === "center" ? width / 2 : 0);
        const box = [left, py + dy - half, left + width, py + dy + half];
        const inside = box[0] >= 0 && box[2] <= xaxis._length + MARGIN.r && box[1] >= -MARGIN.t && box[3] <= yaxis._length;
        if (!inside || taken.some((other, j) => j !== i && meets(box, other))) continue;
        taken.push(box);
        const [ax, ay] = [xaxis.type === "log" ? Math.log10(x) : x, yaxis.type === "log" ? Math.log10(y) : y];
        found.push({ x: ax, y: ay, text, showarrow: false, xanchor: anchor, yanchor: "middle", xshift: dx, yshift: -dy, font: { size: 12, weight: strong ? 700 : 400, color: strong ? colours.ink : colours.soft } });
        break;
      }
    }
    return found;
  }

  // A file to share: on white, with its title, whatever the page looks like.
  async function png(given, title, name) {
    const div = document.createElement("div");
    Object.assign(div.style, { position: "absolute", left: "-9999px", top: "0", width: `${PNG.width}px`, height: `${PNG.height}px` });
    document.body.append(div);
    try {
      await draw(div, copy(given), { paper: true, title, height: PNG.height, legend: given.data.some((trace) => trace.showlegend !== false) });
      await Plotly.downloadImage(div, { format: "png", filename: name, ...PNG });
    } finally {
      Plotly.purge(div);
      div.remove();
    }
  }

  return { draw, png, dark };
})();
