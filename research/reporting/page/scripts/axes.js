// Logarithmic axes, whose ticks are labelled in full and follow a zoom.

// Plotly's settings of an axis of `values`; `range` is its range after a zoom, as logarithms.
function logarithmic(values, range, suffix = "") {
  const positive = values.filter((value) => present(value) && value > 0);
  if (!positive.length) return {};
  const [low, high] = range || [positive.reduce((a, b) => Math.min(a, b)), positive.reduce((a, b) => Math.max(a, b))].map(Math.log10);
  const margin = range ? 0 : 0.1 * (high - low);
  const tickvals = roundNumbers(10 ** (low - margin), 10 ** (high + margin));
  return { type: "log", tickmode: "array", tickvals, ticktext: tickvals.map((value) => compact(value) + suffix), ticksuffix: "" };
}

// About 3 to 8 round numbers: powers of ten, or `digits` of each, or multiples of one step where the axis is short.
function roundNumbers(low, high, digits = [1, 2, 5]) {
  const decades = Math.log10(high / low);
  if (!(decades > 0)) return [low];
  if (decades < 1.2) return multiples(low, high);
  const every = Math.ceil(decades / 8);
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1) {
    if (decades > 3 && power % every) continue;
    for (const digit of decades > 3 ? [1] : digits) found.push(Number(`${digit}e${power}`));
  }
  return found.filter((value) => value >= low && value <= high);
}

function multiples(low, high) {
  const rough = (high - low) / 6;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((digit) => digit * power).find((size) => size >= 0.7 * rough);
  const count = Math.floor(high / step) - Math.ceil(low / step) + 1;
  return Array.from({ length: count }, (_, at) => Number(((Math.ceil(low / step) + at) * step).toPrecision(12)));
}

// 3.25, 200, 10k, 1.5M, 1e-6
function compact(value) {
  if (value < 1e-3) return value.toExponential().replace("e+", "e");
  const [, size, unit] = [[1e9, 1e9, "B"], [1e6, 1e6, "M"], [1e4, 1e3, "k"], [0, 1, ""]].find(([least]) => value >= least);
  return `${Number((value / size).toPrecision(4))}${unit}`;
}

// The range to which the reader has zoomed; null before.
function seen(plot, axis) {
  const drawn = plot && plot.layout && plot.layout[axis];
  return drawn && drawn.type === "log" && drawn.autorange === false ? drawn.range : null;
}

// Draws again after a zoom, for other ticks.
function follow(plot) {
  draws(() => {
    if (plot.followed) return;
    plot.followed = true;
    plot.on("plotly_relayout", (changed) => { if (Object.keys(changed).some((key) => key.includes("axis"))) change({}); });
  });
}
