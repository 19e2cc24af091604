// The head of the page: its title and the main numbers.

function tile(title, value, note) {
  find("tiles").append(element("div", { class: "tile" }, element("p", {}, title), element("strong", { class: String(value).length > 16 ? "long" : null }, value), note ? element("p", {}, note) : null));
}

function summary() {
  find("title").textContent = report.title;
  find("subtitle").textContent = report.subtitle;
  find("footer").textContent = `Made by Lineage ${report.lineage} on ${report.made}. This page needs no network; Plotly draws the curves.`;
  const best = report.groups ? null : runs.find((run) => run.outcome.rank === 1);
  const scoreBy = report.metric.score_by;
  const metric = `validation ${words(report.metric.name).toLowerCase()}`;
  if (best) {
    const after = `after step ${large(scoreBy === "best" ? best.outcome.best_step : best.outcome.step)}`;
    tile(`Best ${metric}`, decimal(best.outcome[scoreBy]), runs.length > 1 ? `${report.sweep ? "trial " : ""}${best.name}, ${after}` : after);
    if (report.sweep && best.note) tile("Best settings", best.note, "of the finished trials");
  }
  const group = report.groups && report.groups.lines[0];
  if (group && present(group.mean)) {
    tile(`Best mean ${metric}`, plusMinus(group.mean, group.error), `${group.note ? `${group.note}, ` : ""}${group.n} seeds`);
  }
  const total = (key) => runs.reduce((sum, run) => sum + (run.outcome[key] || 0), 0);
  if (report.sweep) {
    const { budget, counts, sampler, pruner } = report.sweep;
    const done = (counts.finished || 0) + (counts.pruned || 0);
    const states = Object.entries(counts).map(([state, count]) => `${count} ${state}`).join(", ");
    tile("Completed trials", budget ? `${done} of ${budget}` : done, states);
    tile("Sampler", words(sampler), pruner === "none" ? "no pruning" : `pruned by ${pruner === "median" ? "the median" : words(pruner)}`);
  } else if (runs.length > 1) {
    const finished = runs.filter((run) => run.outcome.state === "finished").length;
    tile("Runs", runs.length, `${finished} finished`);
  } else {
    const { step, steps, state } = runs[0].outcome;
    const bits = runs[0].validation.bits_per_byte;
    if (bits && bits.length) tile("Bits per byte", decimal(bits[bits.length - 1]), "at the last evaluation");
    tile("Steps", large(step), step === steps ? state : `of ${large(steps)}, ${state}`);
  }
  if (runs.length === 1) tile("Throughput", large(runs[0].outcome.tokens_per_second), "tokens per second, median");
  tile("Training time", duration(total("seconds")), runs.length > 1 ? "of all runs, without evaluation" : "without evaluation");
}
