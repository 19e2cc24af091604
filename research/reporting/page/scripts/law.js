// The page of a fitted law: points, curves with bands, predictions with intervals, and three tables.

const [first, second] = report.over;
const predictions = [...report.predictions, ...report.held_out];
const COLOURS = ["#2458d6", "#c2410c", "#17803d", "#9333ea", "#0e7490", "#b45309"];
const number = (value, digits = 4) =>
  value >= 1e5 || value < 1e-3 ? value.toExponential(digits - 2) : Number(value.toPrecision(digits)).toLocaleString("en");
const between = (one, low = "low", high = "high") => number(one[low]) + " to " + number(one[high]);
const percent = Math.round(100 * report.coverage) + "%";

const named = (value) => (second ? report.symbols[1] + " = " + number(value, 3) : "");
const colourOf = (value) => {
  const at = report.curves.findIndex((curve) => curve.other === value);
  return second && at < 0 ? css("--ink") : COLOURS[Math.max(at, 0) % COLOURS.length];
};

function traces() {
  const data = [];
  report.curves.forEach((curve, index) => {
    const colour = COLOURS[index % COLOURS.length];
    const band = { x: [...curve.x, ...curve.x.slice().reverse()], y: [...curve.high, ...curve.low.slice().reverse()] };
    data.push({ ...band, fill: "toself", fillcolor: colour + "22", line: { width: 0 }, mode: "lines", hoverinfo: "skip", showlegend: false });
    data.push({ x: curve.x, y: curve.loss, mode: "lines", line: { color: colour, width: 2 }, name: second ? named(curve.other) : "law" });
  });
  data.push({
    x: report.points.map((point) => point[first]),
    y: report.points.map((point) => point.loss),
    text: report.points.map((point) => point.runs.join(", ") + (second ? "<br>" + named(point[second]) : "")),
    mode: "markers",
    name: "measured",
    marker: { size: 9, color: report.points.map((point) => colourOf(point[second] ?? null)), line: { color: css("--card"), width: 1.5 } },
  });
  if (report.held_out.length) {
    data.push({
      x: report.held_out.map((one) => one[first]),
      y: report.held_out.map((one) => one.measured),
      text: report.held_out.map((one) => one.runs.join(", ") + (second ? "<br>" + named(one[second]) : "")),
      mode: "markers",
      name: "measured, held out",
      marker: { symbol: "circle-open", size: 10, color: report.held_out.map((one) => colourOf(one[second] ?? null)), line: { width: 2 } },
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
  const ends = { minor: { ticks: "outside" } };
  Plotly.react(find("plot"), traces(), {
    ...look(),
    margin: { l: 64, r: 16, t: 44, b: 48 },
    showlegend: true,
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", xanchor: "left" },
    modebar: { orientation: "v", bgcolor: "rgba(0,0,0,0)" },
    xaxis: scale({ ...ends, type: "log", title: { text: first + " " + report.symbols[0] }, exponentformat: "power" }),
    yaxis: scale({ ...ends, type: find("logarithmic").checked ? "log" : "linear", title: { text: "validation " + report.metric } }),
  }, { ...BUTTONS, responsive: true });
}

find("title").textContent = report.title;
find("subtitle").textContent =
  report.formula + ". Intervals hold " + percent + " of " + report.resamples + " fits to resampled " + report.resampled + "." +
  (second ? " The best N for C operations grows as C^(b/(a+b))." : "");
find("warnings").textContent = report.warnings.join(". ");
fill(find("parameters"), ["", "fitted", percent + " interval"],
  Object.entries(report.parameters).map(([name, one]) => [name, number(one.value), between(one)]));
fill(find("points"), [...report.over, "loss", "law", "error", "seeds", "runs"],
  report.points.map((point) => [
    ...report.over.map((name) => number(point[name])), number(point.loss), number(point.fitted),
    (100 * (point.loss / point.fitted - 1)).toFixed(2) + "%", point.losses.length, point.runs.join(", "),
  ]));
find("predicted").hidden = !predictions.length;
const beside = report.held_out.length ? ["measured", "error of the law", "runs within"] : [];
const compared = (one) => one.runs
  ? [number(one.measured), (100 * one.error).toFixed(2) + "%", one.within + " of " + one.runs.length]
  : beside.map(() => "");
fill(find("predictions"), [...report.over, "loss", "law, " + percent, "a run, " + percent, ...beside, ""],
  predictions.map((one) => [
    ...report.over.map((name) => number(one[name])), number(one.loss), between(one), between(one, "run_low", "run_high"),
    ...compared(one), one.warning,
  ]));
find("footer").textContent = "Made by Lineage " + report.lineage + " on " + report.made + ".";
find("logarithmic").addEventListener("change", draw);
dark.addEventListener("change", draw);
draw();
