// A sweep: progress of the search, importance of parameters, and each setting against the result.

function sweep() {
  if (!report.sweep) return;
  find("sweep").hidden = false;
  history_();
  importance();
  parallel();
  report.sweep.parameters.forEach(slice);
  failures();
}

const shownTrials = () => report.sweep.trials.filter((trial) => !present(trial.run) || !view.hidden.has(trial.run));
const valued = () => shownTrials().filter((trial) => present(trial.value));
const SYMBOLS = { finished: "circle", pruned: "x-thin-open", running: "circle-open", failed: "diamond-open", stopped: "circle-open", queued: "circle-open" };
const valueAxis = () => scale({ title: { text: words(report.metric.name), standoff: 6 } });

function points(trials, x) {
  return {
    type: "scatter", mode: "markers", x, y: trials.map((trial) => trial.value),
    marker: {
      size: 9, symbol: trials.map((trial) => SYMBOLS[trial.state]), color: trials.map((trial) => (present(trial.run) ? colour(trial.run) : css("--soft"))),
      line: { width: trials.map((trial) => (trial.state === "finished" ? 0 : 2)) },
    },
    text: trials.map((trial) => `<b>${plain(trial.name)}</b>  ${trial.state}<br>${plain(trial.note)}`),
    hovertemplate: "%{text}<br>%{y:.5~g}<extra></extra>",
  };
}

function history_() {
  const best = report.metric.direction === "maximize" ? Math.max : Math.min;
  chart("sweep-charts", "Search progress", () => {
    const trials = valued();
    const finished = trials.filter((trial) => trial.state === "finished");
    let so = null;
    const reached = finished.map((trial) => (so = so === null ? trial.value : best(so, trial.value)));
    const line = { type: "scatter", mode: "lines", x: finished.map((trial) => trial.number), y: reached, line: { color: css("--soft"), width: 1.5, shape: "hv", dash: "dot" }, hoverinfo: "skip" };
    return { data: [line, points(trials, trials.map((trial) => trial.number))], layout: { xaxis: scale({ title: { text: "Trial", standoff: 8 } }), yaxis: valueAxis() } };
  }, { unit: "dotted: best so far; ×: pruned", id: "chart-history" });
}

function importance() {
  const { importance: found, why } = report.sweep;
  if (why) {
    find("sweep-charts").append(element("figure", { id: "chart-importance" }, element("h3", {}, "Parameter importance"), element("p", { class: "note" }, why)));
    return;
  }
  const tones = () => [css("--accent"), css("--warm")];
  const unit = found.length > 1 ? found.map(({ evaluator }) => evaluator).join(" and ") : found[0].evaluator;
  chart("sweep-charts", "Parameter importance", () => {
    const names = Object.keys(found[0].shares).reverse();
    const data = found.map(({ evaluator, shares }, at) => ({
      type: "bar", orientation: "h", name: evaluator, y: names.map(plain), x: names.map((name) => shares[name]),
      marker: { color: tones()[at] }, hovertemplate: `${evaluator}  %{x:.0%}<extra>%{y}</extra>`,
    }));
    return { data, layout: { barmode: "group", bargap: 0.3, showlegend: found.length > 1, legend: { orientation: "h", y: -0.12, x: 0 }, xaxis: scale({ tickformat: ".0%", range: [0, 1] }), yaxis: scale({ automargin: true, ticksuffix: "  " }) } };
  }, { unit: `shares, by ${unit}`, id: "chart-importance" });
}

// Positions on an axis: numbers, or their logarithms; the index in a list for other values.
function dimension({ label, values, logarithmic }, indices) {
  const numbers = values.every((value) => typeof value === "number");
  const shown = indices.map((index) => values[index]);
  if (numbers && logarithmic) {
    const { tickvals, ticktext } = ticks(values);
    const range = [Math.min(...values), Math.max(...values)].map(Math.log10);
    return { label: plain(label), values: shown.map(Math.log10), range, tickvals: tickvals.map(Math.log10), ticktext };
  }
  if (numbers) {
    const marks = [...new Set(values)].sort((a, b) => a - b);
    return { label: plain(label), values: shown, ...(marks.length <= 6 ? { tickvals: marks, ticktext: marks.map(String) } : {}) };
  }
  const kinds = [...new Set(values.map(formatValue))].sort();
  return { label: plain(label), values: shown.map((value) => kinds.indexOf(formatValue(value))), tickvals: kinds.map((_, at) => at), ticktext: kinds.map(plain) };
}

// Ticks of a logarithmic axis: the values themselves if they are few and round, else 1, 3, 10, 30 …
function ticks(values) {
  const marks = [...new Set(values)].sort((a, b) => a - b);
  const few = marks.length <= 6 && marks.every((mark) => Number(mark.toPrecision(2)) === mark);
  const tickvals = few ? marks : roundNumbers(marks[0], marks[marks.length - 1], [1, 3]);
  return { tickvals, ticktext: tickvals.map(formatValue) };
}

function parallel() {
  const { parameters } = report.sweep;
  if (parameters.length < 1) return;
  const plot = chart("sweep-charts", "Parallel coordinates", () => {
    const trials = valued().filter((trial) => present(trial.run));
    const values = trials.map((trial) => trial.value);
    const dimensions = parameters.map((parameter) => dimension(parameter, trials.map((trial) => trial.run)));
    const up = report.metric.direction === "maximize";
    const data = [{
      type: "parcoords", dimensions: [...dimensions, { label: plain(words(report.metric.name)), values }],
      line: { color: values, colorscale: SCALE[mode()], reversescale: up, showscale: false },
      labelfont: { color: css("--ink"), size: 12 }, tickfont: { color: css("--soft"), size: 11 }, rangefont: { color: "rgba(0,0,0,0)", size: 1 },
      unselected: { line: { color: css("--line"), opacity: 0.4 } },
    }];
    return { data, layout: { margin: { l: 60, r: 60, t: 72, b: 20 } } };
  }, { unit: "drag along an axis to pick trials", id: "chart-parallel", wide: true });
  plot.style.minWidth = `${Math.max(280, 110 * (parameters.length + 1))}px`;
}

function slice(parameter) {
  chart("slices", parameter.label, () => {
    const trials = valued().filter((trial) => present(trial.run));
    const x = trials.map((trial) => parameter.values[trial.run]);
    const numbers = parameter.values.every((value) => typeof value === "number");
    const axis = numbers ? { type: parameter.logarithmic ? "log" : "linear" } : { type: "category" };
    if (parameter.logarithmic) Object.assign(axis, ticks(parameter.values));
    return { data: [points(trials, numbers ? x : x.map((value) => plain(formatValue(value))))], layout: { xaxis: scale({ nticks: 6, ...axis }), yaxis: valueAxis() } };
  }, { unit: parameter.label === parameter.name ? "" : parameter.name, id: `slice-${parameter.name}` });
}

function failures() {
  const failed = report.sweep.trials.filter((trial) => trial.reason);
  if (!failed.length) return;
  const lines = failed.map((trial) => element("tr", {}, element("th", { scope: "row" }, trial.name), element("td", {}, trial.note), element("td", {}, trial.reason)));
  find("sweep").append(element("details", { open: failed.length <= 5 }, element("summary", {}, `${failed.length} failed`), element("div", { class: "scroll" }, element("table", { id: "failures" }, element("tbody", {}, ...lines)))));
}
