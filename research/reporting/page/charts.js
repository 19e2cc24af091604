// Charts: each has a title, an element of the page, and a function that Plotly draws from.

const AXES = { step: "Step", tokens: "Tokens", seconds: "Time" };
const BUTTONS = { displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };

// `build` returns {data, layout}, or null for no figure.
function chart(place, title, build, { unit = "", id = null, wide = false, note = null } = {}) {
  const plot = element("div", { class: "plot", role: "img", "aria-label": title, id });
  const heading = element("h3", {}, title, unit ? element("small", {}, unit) : null);
  find(place).append(
    element("figure", wide ? { class: "wide" } : {}, heading, wide ? element("div", { class: "scroll" }, plot) : plot, note ? element("p", { class: "note" }, note) : null),
  );
  draws(() => {
    const { data, layout } = build();
    Plotly.react(plot, data, { ...look(), ...layout }, BUTTONS);
  });
  new ResizeObserver(() => plot.data && Plotly.Plots.resize(plot)).observe(plot);
  return plot;
}

function look() {
  return {
    paper_bgcolor: css("--card"),
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, -apple-system, Segoe UI, Roboto, sans-serif", size: 12, color: css("--soft") },
    margin: { l: 54, r: 10, t: 14, b: 40 },
    showlegend: false,
    hovermode: "closest",
    hoverlabel: { bgcolor: css("--card"), bordercolor: css("--line"), font: { color: css("--ink") }, align: "left" },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: css("--soft"), activecolor: css("--accent") },
    uirevision: view.axis,
  };
}

function scale(more = {}) {
  return { gridcolor: css("--grid"), linecolor: css("--line"), zerolinecolor: css("--grid"), automargin: true, ...more };
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

function curve(place, split, name, title, unit) {
  const isLoss = name === "loss" || name.endsWith("_loss");
  const smoothed = split === "train" && name !== "learning_rate";
  return chart(place, title, () => {
    const data = [];
    const faint = smoothed && view.smoothing > 0 && runs.length - view.hidden.size <= 4;
    runs.forEach((run, index) => {
      const columns = run[split];
      const line = { color: colour(index), width: split === "train" ? 1.6 : 2 };
      const common = {
        type: "scatter", x: columns[view.axis], name: plain(run.name), visible: !view.hidden.has(index), meta: index,
        mode: split === "validation" && (columns.step || []).length < 60 ? "lines+markers" : "lines",
        marker: { size: 5, color: line.color }, connectgaps: false,
      };
      if (faint) data.push({ ...common, y: columns[name], line: { ...line, width: 1 }, opacity: 0.28, hoverinfo: "skip" });
      const y = smoothed && view.smoothing > 0 ? smooth(columns[name] || [], view.smoothing) : columns[name];
      const called = `<b>${plain(run.name)}</b>  %{y:.5~g}<br>${plain(run.note)}${run.note ? "<br>" : ""}step %{customdata}<extra></extra>`;
      data.push({ ...common, y, line, customdata: columns.step, hovertemplate: called });
    });
    const layout = {
      xaxis: scale({ title: { text: AXES[view.axis], standoff: 8 }, ...(view.axis === "seconds" ? { ticksuffix: " s" } : {}) }),
      yaxis: scale(isLoss && view.logarithmic ? { type: "log", dtick: undefined, nticks: 6 } : {}),
    };
    if (["tokens_per_second", "gradient_norm"].includes(name)) layout.yaxis.rangemode = "tozero";
    return { data, layout };
  }, { unit, id: `chart-${split}-${name}` });
}

const UNITS = {
  loss: "nats per target", gradient_norm: "before clipping", tokens_per_second: "tokens/s",
};
const TITLES = { tokens_per_second: "Throughput", gradient_norm: "Gradient norm", bits_per_byte: "Bits per byte" };
const ORDER = ["loss", "learning_rate", "gradient_norm", "tokens_per_second", "bits_per_byte", "accuracy"];

function curves() {
  const measured = (split, name) => runs.some((run) => (run[split][name] || []).some((value) => present(value) && value !== 0));
  const names = (split) => [...new Set(runs.flatMap((run) => Object.keys(run[split])))]
    .filter((name) => !(name in AXES) && measured(split, name))
    .sort((a, b) => (ORDER.indexOf(a) + 1 || 99) - (ORDER.indexOf(b) + 1 || 99));
  const train = names("train");
  const validation = names("validation");
  const title = (split, name) => {
    if (["learning_rate", "gradient_norm", "tokens_per_second"].includes(name)) return TITLES[name] || words(name);
    return `${split === "train" ? "Training" : "Validation"} ${(TITLES[name] || words(name)).toLowerCase()}`;
  };
  const main = [["validation", report.metric.name], ["train", "loss"]].filter(([split, name]) => measured(split, name));
  const others = [...train.map((name) => ["train", name]), ...validation.map((name) => ["validation", name])]
    .filter(([split, name]) => !main.some(([a, b]) => a === split && b === name));
  for (const [split, name] of main) curve("main-charts", split, name, title(split, name), UNITS[name]);
  for (const [split, name] of others) curve("more-charts", split, name, title(split, name), UNITS[name]);
  if (!main.length && !others.length) find("main-charts").append(element("p", { class: "note" }, "No measurements yet."));
}
