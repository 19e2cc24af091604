// Means over seeds: a table of groups, their intervals, and the mean curve of each with a band.

function seeds() {
  if (!report.groups) return;
  find("seeds").hidden = false;
  fill(find("groups"), report.groups.header, report.groups.cells);
  find("groups-note").textContent = report.groups.notes.join(" ");
  forest();
  bands();
}

const lines = () => report.groups.lines;
const groupName = (line) => line.note || "all runs";
const plusMinus = (mean, error, digits = 4) => (present(mean) ? `${mean.toFixed(digits)}${present(error) ? ` ± ${error.toFixed(digits)}` : ""}` : "–");

// One colour for a group: that of its place.
function groupColour(at) {
  const few = FEW[mode()];
  return lines().length <= few.length ? few[at] : `hsl(${Math.round((at * 360) / lines().length)}, 68%, ${dark.matches ? 70 : 45}%)`;
}

function forest() {
  const shown = lines().filter((line) => present(line.mean));
  chart("seed-charts", "Means", () => {
    const each = shown.flatMap((line) => line.indices.map((index) => [runs[index].outcome, line]))
      .filter(([outcome]) => outcome.state === "finished" && present(outcome[report.groups.score_by]));
    const dots = {
      type: "scatter", mode: "markers", x: each.map(([outcome]) => outcome[report.groups.score_by]), y: each.map(([, line]) => plain(groupName(line))),
      marker: { size: 6, color: css("--soft"), opacity: 0.55 }, text: each.map(([outcome]) => plain(outcome.name)), hovertemplate: "<b>%{text}</b>  %{x:.5~g}<extra></extra>",
    };
    const means = (some, more) => ({
      type: "scatter", mode: "markers", x: some.map((line) => line.mean), y: some.map((line) => plain(groupName(line))),
      marker: { size: 10, color: some.map((line) => groupColour(lines().indexOf(line))) }, text: some.map((line) => plusMinus(line.mean, line.error)), hovertemplate: "%{text}<extra></extra>", ...more,
    });
    const several = shown.filter((line) => present(line.error));
    const bars = { error_x: { type: "data", array: several.map((line) => line.error), thickness: 1.6, width: 6, color: css("--ink") } };
    const traces = [dots, means(several, bars), means(shown.filter((line) => !present(line.error)), {})];
    const order = { type: "category", categoryorder: "array", categoryarray: shown.map((line) => plain(groupName(line))), autorange: "reversed", ticksuffix: "  " };
    return { data: traces, layout: { margin: { l: 20, r: 14, t: 14, b: 40 }, xaxis: scale({ title: { text: words(report.groups.metric), standoff: 8 } }), yaxis: scale(order) } };
  }, { unit: "bars: standard error; grey: each seed", id: "chart-means" });
}

// A band between mean − error and mean + error; a curve of one seed has none.
function bands() {
  const drawn = lines().map((line, at) => [line, at]).filter(([line]) => line.curve && line.curve.step.length);
  if (!drawn.length) return;
  chart("seed-charts", `Validation ${words(report.groups.metric).toLowerCase()}, mean`, () => {
    const data = drawn.flatMap(([line, at]) => {
      const { step, mean, error } = line.curve;
      const edge = (sign) => mean.map((value, place) => value + sign * error[place]);
      const colour = groupColour(at);
      const side = { type: "scatter", mode: "lines", x: step, line: { width: 0, color: colour }, hoverinfo: "skip", meta: "band" };
      const band = error.every(present) ? [{ ...side, y: edge(-1) }, { ...side, y: edge(1), fill: "tonexty", fillcolor: translucent(colour) }] : [];
      const text = mean.map((value, place) => plusMinus(value, error[place]));
      return [...band, {
        type: "scatter", mode: step.length < 60 ? "lines+markers" : "lines", x: step, y: mean, text, meta: "mean", line: { color: colour, width: 2 }, marker: { size: 5, color: colour },
        hovertemplate: `<b>${plain(groupName(line))}</b>  %{text}<br>step %{x}<extra></extra>`,
      }];
    });
    return { data, layout: { xaxis: scale({ title: { text: AXES.step, standoff: 8 } }), yaxis: scale() } };
  }, { unit: "bands: standard error, over the runs of the mean", id: "chart-bands" });
}

function translucent(colour) {
  if (colour.startsWith("hsl")) return colour.replace("hsl", "hsla").replace(")", ", 0.2)");
  return `${colour}33`;
}
