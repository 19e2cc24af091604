// Charts: each has a title, an element of the page, and a function that Plotly draws from.

const AXES = { step: "Step", tokens: "Tokens", seconds: "Time" };

// `build` returns {data, layout}, or null for no figure.
function chart(place, title, build, { unit = "", id = null, wide = false, note = null } = {}) {
  const plot = element("div", { class: "plot", role: "img", "aria-label": title, id });
  const heading = element("h3", {}, title, unit ? element("small", {}, unit) : null);
  find(place).append(
    element("figure", wide ? { class: "wide" } : {}, heading, wide ? element("div", { class: "scroll" }, plot) : plot, note ? element("p", { class: "note" }, note) : null),
  );
  draws(() => {
    const { data, layout } = build();
    Plotly.react(plot, data, { ...look(), uirevision: view.axis, ...layout }, BUTTONS);
  });
  new ResizeObserver(() => plot.data && Plotly.Plots.resize(plot)).observe(plot);
  return plot;
}

// Exponential moving average with bias correction; missing values stay missing.
function smooth(values, weight) {
  let mean = 0;
  let total = 0;
  return values.map((value) => {
    if (!present(value)) return value;
    mean = weight * mean + (1 - weight) * value;
    total = weight * total + (1 - weight);
    return mean / total;
  });
}

// One run's traces of a number: a smoothed line (and faintly what was measured), or a point for each evaluation.
function traces(run, index, split, name) {
  const columns = run[split];
  if (!columns[name]) return [];
  const marked = split === "validation";
  const color = colour(index);
  const common = {
    type: "scatter", x: view.logarithmicAxis ? columns[view.axis].map((value) => (value > 0 ? value : null)) : columns[view.axis], name: plain(run.name), visible: !view.hidden.has(index), meta: { index, split }, connectgaps: false,
    mode: marked ? "lines+markers" : "lines", marker: { size: columns.step.length < 60 ? 7 : 4, color, line: { color: css("--card"), width: 1 } },
  };
  const smoothed = !marked && name !== "learning_rate" && view.smoothing > 0;
  const faint = smoothed && runs.length - view.hidden.size <= 4;
  const called = `<b>${plain(run.name)}</b>  ${split}  %{y:.5~g}<br>${plain(run.note)}${run.note ? "<br>" : ""}step %{customdata}<extra></extra>`;
  const line = { color, width: marked ? 2 : 1.4 };
  return [
    ...(faint ? [{ ...common, y: columns[name], line: { color, width: 1 }, opacity: 0.28, hoverinfo: "skip" }] : []),
    { ...common, y: smoothed ? smooth(columns[name], view.smoothing) : columns[name], line, customdata: columns.step, hovertemplate: called },
  ];
}

function curve(place, splits, name, title, unit) {
  const isLoss = name === "loss" || name.endsWith("_loss") || name === "bits_per_byte";
  const plot = chart(place, title, () => {
    const data = splits.flatMap((split) => runs.flatMap((run, index) => traces(run, index, split, name))); // points over lines
    const values = (key) => data.filter((trace) => trace.visible).flatMap((trace) => trace[key]);
    const suffix = view.axis === "seconds" ? " s" : "";
    const layout = {
      xaxis: scale({ title: { text: AXES[view.axis], standoff: 8 }, ticksuffix: suffix, ...(view.logarithmicAxis ? logarithmic(values("x"), seen(plot, "xaxis"), suffix) : {}) }),
      yaxis: scale(isLoss && view.logarithmic ? logarithmic(values("y"), seen(plot, "yaxis")) : {}),
      uirevision: `${view.axis} ${view.logarithmicAxis} ${view.logarithmic}`,
    };
    if (["tokens_per_second", "gradient_norm"].includes(name)) layout.yaxis.rangemode = "tozero";
    return { data, layout };
  }, { unit, id: `chart-${name}` });
  follow(plot);
}

const UNITS = {
  loss: "nats per target", gradient_norm: "before clipping", tokens_per_second: "tokens/s",
};
const TITLES = { tokens_per_second: "Throughput", gradient_norm: "Gradient norm", bits_per_byte: "Bits per byte" };
const ORDER = ["loss", "learning_rate", "gradient_norm", "tokens_per_second", "bits_per_byte", "accuracy"];

function curves() {
  const measured = (split, name) => runs.some((run) => (run[split][name] || []).some((value) => present(value) && value !== 0));
  const names = (split) => [...new Set(runs.flatMap((run) => Object.keys(run[split])))]
    .filter((name) => !(name in AXES) && measured(split, name));
  const all = [...new Set([...names("train"), ...names("validation")])];
  const splits = (name) => ["train", "validation"].filter((split) => measured(split, name));
  const title = (name) => {
    const [called, own] = [TITLES[name] || words(name), ["learning_rate", "gradient_norm", "tokens_per_second"].includes(name)];
    if (own || splits(name).length === 2) return called;
    return `${splits(name)[0] === "train" ? "Training" : "Validation"} ${called.toLowerCase()}`;
  };
  const unit = (name) => [UNITS[name], splits(name).length === 2 ? "line: training, points: validation" : ""].filter(Boolean).join("; ");
  const main = [...new Set([report.metric.name, "loss"])].filter((name) => all.includes(name));
  const others = all.filter((name) => !main.includes(name)).sort((a, b) => (ORDER.indexOf(a) + 1 || 99) - (ORDER.indexOf(b) + 1 || 99));
  for (const name of main) curve("main-charts", splits(name), name, title(name), unit(name));
  for (const name of others) curve("more-charts", splits(name), name, title(name), unit(name));
  if (!main.length && !others.length) find("main-charts").append(element("p", { class: "note" }, "No measurements yet."));
}
