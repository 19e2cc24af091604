// The state of the page: shown runs, axis, smoothing and colours. Parts that draw subscribe to its changes.

const runs = report.runs;

const view = { axis: "step", smoothing: 0.6, logarithmic: false, logarithmicAxis: false, colour: report.sweep ? "result" : "run", hidden: new Set() };
const drawn = [];
let due = false;

const draws = (draw) => drawn.push(draw);

function draw() {
  due = false;
  drawn.forEach((one) => one());
}

function change(changes) {
  Object.assign(view, changes);
  if (!due) requestAnimationFrame(draw);
  due = true;
}

dark.addEventListener("change", () => change({}));

function toggle(index) {
  const hidden = new Set(view.hidden);
  if (!hidden.delete(index)) hidden.add(index);
  change({ hidden });
}

// Shows one run alone, or all runs if it is alone already.
function only(index) {
  const others = runs.map((_, other) => other).filter((other) => other !== index);
  const alone = !view.hidden.has(index) && others.every((other) => view.hidden.has(other));
  change({ hidden: new Set(alone ? [] : others) });
}

const FEW = {
  light: ["#2563eb", "#e4572e", "#12966a", "#9b51e0", "#c98a00", "#0891b2", "#d6336c", "#6b7280"],
  dark: ["#6ea8fe", "#ff8a65", "#4fd1a5", "#c79bff", "#f2c14e", "#4dd0e8", "#ff80ab", "#a8b0bd"],
};
// Dark blue to a yellow that is dark enough to be seen on white.
const SCALE = {
  light: [[0, "#1e3a8a"], [0.35, "#0e7490"], [0.65, "#3f9b5b"], [1, "#d99a00"]],
  dark: [[0, "#7aa2ff"], [0.35, "#3ec6d8"], [0.65, "#6fd08c"], [1, "#ffd866"]],
};

const mode = () => (dark.matches ? "dark" : "light");

function colour(index) {
  if (view.colour === "run") {
    if (runs.length <= FEW.light.length) return FEW[mode()][index];
    const lightness = [dark.matches ? 68 : 42, dark.matches ? 78 : 56][index % 2];
    return `hsl(${Math.round((index * 360) / runs.length)}, ${dark.matches ? 75 : 68}%, ${lightness}%)`;
  }
  return shade(standing(index, coloured(view.colour)));
}

// A run's rank, scaled to 0 to 1, so that one outlier does not give all others the same colour.
function standing(index, values) {
  const known = [...new Set(values.filter(present))].sort((a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b))));
  return present(values[index]) && known.length > 1 ? known.indexOf(values[index]) / (known.length - 1) : 0;
}

function coloured(name) {
  if (name === "result") return runs.map((run) => run.outcome[report.metric.score_by]);
  return report.settings.find((setting) => setting.name === name).values;
}

function shade(share) {
  const scale = SCALE[mode()];
  const next = Math.max(1, scale.findIndex(([place]) => place >= share));
  const [[low, from], [high, to]] = [scale[next - 1], scale[next]];
  const part = (share - low) / (high - low);
  const channel = (text, at) => parseInt(text.slice(at, at + 2), 16);
  return `rgb(${[1, 3, 5].map((at) => Math.round(channel(from, at) * (1 - part) + channel(to, at) * part)).join(", ")})`;
}
