// Means over seeds: a table of groups, their intervals, and the mean curve of each with a band.

function seeds() {
  if (!report.groups) return;
  find("seeds").hidden = false;
  groupTable();
  forest();
  bands();
}

const lines = () => report.groups.lines;
const groupName = (line) => line.note || "all runs";
const plusMinus = (mean, error, digits = 4) => (present(mean) ? `${mean.toFixed(digits)}${present(error) ? ` ± ${error.toFixed(digits)}` : ""}` : "–");
const signed = (value, digits = 4) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(digits)}`;
const interval = ({ mean, low, high }) => `${signed(mean)}${present(low) ? ` [${signed(low)}, ${signed(high)}]` : ""}`;

// One colour for a group: that of its place.
function groupColour(at) {
  const few = FEW[mode()];
  return lines().length <= few.length ? few[at] : `hsl(${Math.round((at * 360) / lines().length)}, 68%, ${dark.matches ? 70 : 45}%)`;
}

function groupTable() {
  const { metric, score_by, by, comparisons, paired } = report.groups;
  const target = lines().some((line) => line.target);
  const titles = ["#", ...by.map(({ label }) => label), `${words(score_by)} ${words(metric).toLowerCase()}, mean`, "n", "Difference to the best", "", ...(target ? ["Reached", "Steps", "Tokens", "Time"] : []), "Not counted"];
  const goal = (found) => {
    if (!found) return ["–", "–", "–", "–"];
    const { step, tokens, seconds } = found;
    const mean = (one, digits) => (one ? plusMinus(one.mean, one.error, digits) : "–");
    return [`${found.reached} of ${found.of}`, mean(step, 0), mean(tokens, 0), seconds ? `${mean(seconds, 1)} s` : "–"];
  };
  const rows = lines().map((line, at) => {
    const left = Object.entries(line.left_out).map(([state, count]) => `${count} ${state}`).join(", ");
    const texts = [at + 1, ...by.map(({ name }) => formatValue(line.settings[name])), plusMinus(line.mean, line.error), line.n, line.difference ? interval(line.difference) : "", line.verdict, ...(target ? goal(line.target) : []), left];
    return element("tr", { "data-group": groupName(line) }, ...texts.map((text) => element("td", {}, String(text))));
  });
  find("groups").append(element("thead", {}, element("tr", {}, ...titles.map((title) => element("th", { scope: "col" }, title)))), element("tbody", {}, ...rows));
  const pairs = paired.filter(Boolean).length;
  const how = pairs === paired.length ? "Student's t-test, paired by seed" : pairs ? "t-tests, paired where seeds match" : "Welch's t-test, since no seeds match";
  const notes = [
    "±: standard error of the mean over n seeds; one seed has none.",
    comparisons ? `Brackets: 95% interval of the difference, by ${how}.` : null,
    comparisons > 1 ? `“differs” also holds for all ${comparisons} comparisons together, at 5% (Holm).` : null,
  ];
  find("groups-note").textContent = notes.filter(Boolean).join(" ");
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
