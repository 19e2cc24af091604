// The page of a fitted law: points, curves with bands, predictions with intervals, and three tables.

const facts = JSON.parse(document.getElementById("report").textContent);
const [first, second] = facts.over;
const predictions = [...facts.predictions, ...facts.held_out];
const COLOURS = ["#2458d6", "#c2410c", "#17803d", "#9333ea", "#0e7490", "#b45309"];
const find = (id) => document.getElementById(id);
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const number = (value, digits = 4) =>
  value >= 1e5 || value < 1e-3 ? value.toExponential(digits - 2) : Number(value.toPrecision(digits)).toLocaleString("en");
const between = (one, low = "low", high = "high") => number(one[low]) + " to " + number(one[high]);
const percent = Math.round(100 * facts.coverage) + "%";

function fill(table, titles, rows) {
  const head = table.createTHead().insertRow();
  titles.forEach((title) => head.append(Object.assign(document.createElement("th"), { textContent: title, scope: "col" })));
  const body = table.createTBody();
  rows.forEach((cells) => {
    const row = body.insertRow();
    cells.forEach((cell) => (row.insertCell().textContent = cell));
  });
}

const named = (value) => (second ? facts.symbols[1] + " = " + number(value, 3) : "");
const colourOf = (value) => {
  const at = facts.curves.findIndex((curve) => curve.other === value);
  return second && at < 0 ? css("--ink") : COLOURS[Math.max(at, 0) % COLOURS.length];
};

function traces() {
  const data = [];
  facts.curves.forEach((curve, index) => {
    const colour = COLOURS[index % COLOURS.length];
    const band = { x: [...curve.x, ...curve.x.slice().reverse()], y: [...curve.high, ...curve.low.slice().reverse()] };
    data.push({ ...band, fill: "toself", fillcolor: colour + "22", line: { width: 0 }, mode: "lines", hoverinfo: "skip", showlegend: false });
    data.push({ x: curve.x, y: curve.loss, mode: "lines", line: { color: colour, width: 2 }, name: second ? named(curve.other) : "law" });
  });
  data.push({
    x: facts.points.map((point) => point[first]),
    y: facts.points.map((point) => point.loss),
    text: facts.points.map((point) => point.runs.join(", ") + (second ? "<br>" + named(point[second]) : "")),
    mode: "markers",
    name: "measured",
    marker: { size: 9, color: facts.points.map((point) => colourOf(point[second] ?? null)), line: { color: css("--card"), width: 1.5 } },
  });
  if (facts.held_out.length) {
    data.push({
      x: facts.held_out.map((one) => one[first]),
      y: facts.held_out.map((one) => one.measured),
      text: facts.held_out.map((one) => one.runs.join(", ") + (second ? "<br>" + named(one[second]) : "")),
      mode: "markers",
      name: "measured, held out",
      marker: { symbol: "circle-open", size: 10, color: facts.held_out.map((one) => colourOf(one[second] ?? null)), line: { width: 2 } },
    });
  }
  if (predictions.length) {
    data.push({
      x: predictions.map((one) => one[first]),
      y: predictions.map((one) => one.loss),
      error_y: {
        type: "data", symmetric: false, thickness: 1.5, width: 5,
        array: predictions.map((one) => one.run_high - one.loss),
        arrayminus: predictions.map((one) => one.loss - one.run_low),
      },
      mode: "markers",
      name: "predicted, " + percent + " of runs",
      marker: { symbol: "diamond-open", size: 11, color: css("--ink"), line: { width: 2 } },
    });
  }
  return data;
}

function draw() {
  const axis = { gridcolor: css("--grid"), linecolor: css("--line"), zerolinecolor: css("--grid"), automargin: true };
  Plotly.react(find("plot"), traces(), {
    paper_bgcolor: css("--card"),
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, -apple-system, Segoe UI, Roboto, sans-serif", size: 12, color: css("--soft") },
    margin: { l: 64, r: 16, t: 44, b: 48 },
    hovermode: "closest",
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", xanchor: "left" },
    modebar: { orientation: "v", bgcolor: "rgba(0,0,0,0)" },
    xaxis: { ...axis, type: "log", title: { text: first + " " + facts.symbols[0] }, exponentformat: "power", minor: { ticks: "outside" } },
    yaxis: { ...axis, type: find("logarithmic").checked ? "log" : "linear", title: { text: "validation " + facts.metric }, minor: { ticks: "outside" } },
  }, { displaylogo: false, responsive: true, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] });
}

find("title").textContent = facts.title;
find("subtitle").textContent =
  facts.formula + ". Intervals hold " + percent + " of " + facts.resamples + " fits to resampled " + facts.resampled + "." +
  (second ? " The best N for C operations grows as C^(b/(a+b))." : "");
find("warnings").textContent = facts.warnings.join(". ");
fill(find("parameters"), ["", "fitted", percent + " interval"],
  Object.entries(facts.parameters).map(([name, one]) => [name, number(one.value), between(one)]));
fill(find("points"), [...facts.over, "loss", "law", "error", "seeds", "runs"],
  facts.points.map((point) => [
    ...facts.over.map((name) => number(point[name])), number(point.loss), number(point.fitted),
    (100 * (point.loss / point.fitted - 1)).toFixed(2) + "%", point.losses.length, point.runs.join(", "),
  ]));
find("predicted").hidden = !predictions.length;
const beside = facts.held_out.length ? ["measured", "error of the law", "runs within"] : [];
const compared = (one) => one.runs
  ? [number(one.measured), (100 * one.error).toFixed(2) + "%", one.within + " of " + one.runs.length]
  : beside.map(() => "");
fill(find("predictions"), [...facts.over, "loss", "law, " + percent, "a run, " + percent, ...beside, ""],
  predictions.map((one) => [
    ...facts.over.map((name) => number(one[name])), number(one.loss), between(one), between(one, "run_low", "run_high"),
    ...compared(one), one.warning,
  ]));
find("footer").textContent = "Made by Lineage " + facts.lineage + " on " + facts.made + ".";
find("logarithmic").addEventListener("change", draw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
draw();
