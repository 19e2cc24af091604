// Tables of results, settings and environments.

function sortable(table, columns, rows, { key, descending = false }) {
  const heads = columns.map((column) => {
    const sort = () => order(column.key, sorted.key === column.key ? !sorted.descending : Boolean(column.descending));
    const head = element("th", { scope: "col", class: column.number ? "number" : null }, element("button", { type: "button", "data-sort": column.key, onclick: sort }, column.title));
    return head;
  });
  const body = element("tbody");
  const sorted = {};

  function compare(a, b) {
    const [x, y] = [a.values[sorted.key], b.values[sorted.key]];
    if (!present(x) || !present(y)) return present(y) - present(x); // what is not there comes last
    const sign = sorted.descending ? -1 : 1;
    return sign * (typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y), "en", { numeric: true }));
  }

  function order(name, down) {
    Object.assign(sorted, { key: name, descending: down });
    body.replaceChildren(...[...rows].sort(compare).map((row) => row.line));
    columns.forEach((column, at) => {
      if (column.key === name) heads[at].setAttribute("aria-sort", down ? "descending" : "ascending");
      else heads[at].removeAttribute("aria-sort");
    });
  }

  table.append(element("thead", {}, element("tr", {}, ...heads)), body);
  order(key, descending);
}

function outcomes() {
  const section = find("outcomes");
  if (runs.length < 2 && !report.sweep) {
    section.hidden = true;
    return;
  }
  section.querySelector("h2").textContent = report.sweep ? "Leaderboard" : "Runs";
  const metric = words(report.metric.name).toLowerCase();
  const higher = report.metric.direction === "maximize";
  const columns = [
    { key: "name", title: report.sweep ? "Trial" : "Run" },
    { key: "rank", title: "#", number: true },
    ...report.differing.map(({ name, label }) => ({ key: `setting:${name}`, title: label, number: isNumber(name) })),
    { key: "step", title: "Step", number: true, descending: true },
    { key: "best", title: `Best ${metric}`, number: true, descending: higher },
    { key: "last", title: `Last ${metric}`, number: true, descending: higher },
    { key: "tokens_per_second", title: "Tokens/s", number: true, descending: true },
    { key: "seconds", title: "Time", number: true },
    ...(runs.some((run) => run.outcome.reached) ? [{ key: "to_target", title: "Steps to target", number: true }] : []),
    { key: "state", title: "State" },
  ];
  const rows = runs.map((run, index) => {
    const { reached } = run.outcome;
    const values = { ...run.outcome, to_target: reached ? reached.step : null };
    for (const { name } of report.differing) values[`setting:${name}`] = report.settings.find((setting) => setting.name === name).values[index];
    const text = (key) => {
      if (key === "step") return values.step === values.steps ? large(values.step) : `${large(values.step)} / ${large(values.steps)}`;
      if (key === "best" || key === "last") return decimal(values[key]);
      if (key === "tokens_per_second") return large(values[key]);
      if (key === "to_target") return reached ? element("span", { title: `${reached.target}: ${decimal(reached.value)} after ${large(reached.tokens)} tokens, ${duration(reached.seconds)}` }, large(reached.step)) : "–";
      if (key === "seconds") return duration(values[key]);
      if (key === "state") return element("span", { class: `state ${values.state}`, title: run.reason || null }, values.state);
      return key === "rank" && !present(values.rank) ? "–" : formatValue(values[key]);
    };
    const swatch = element("span", { class: "swatch", "aria-hidden": "true" });
    const named = element("button", { type: "button", onclick: () => toggle(index) }, swatch, run.name);
    const cells = columns.map((column) => element("td", { class: column.number ? "number" : null }, column.key === "name" ? named : text(column.key)));
    const line = element("tr", { "data-run": run.name }, ...cells);
    draws(() => {
      line.classList.toggle("hidden", view.hidden.has(index));
      named.setAttribute("aria-pressed", !view.hidden.has(index));
      swatch.style.setProperty("--colour", colour(index));
    });
    return { line, values };
  });
  sortable(find("leaderboard"), columns, rows, { key: "rank" });
}

function isNumber(name) {
  return report.settings.find((setting) => setting.name === name).values.every((value) => typeof value === "number");
}

// One row per name: a single cell if all runs agree, else one cell per run.
function compared(table, entries, grouped) {
  if (entries.some((entry) => entry.differs)) {
    table.append(element("thead", {}, element("tr", {}, element("th", {}, ""), ...runs.map((run) => element("th", { scope: "col" }, run.name)))));
  }
  const body = element("tbody");
  let group = "";
  for (const { name, values, differs } of entries) {
    const [first] = name.split(".");
    if (grouped && first !== group && name.includes(".")) {
      group = first;
      body.append(element("tr", { class: "group" }, element("th", { scope: "colgroup", colspan: runs.length + 1 }, words(group))));
    }
    const cells = differs ? values.map((value) => element("td", { title: value }, formatValue(value))) : [element("td", { colspan: runs.length }, formatValue(values[0]))];
    body.append(element("tr", { class: differs ? "differs" : null, "data-name": name }, element("th", { scope: "row" }, name), ...cells));
  }
  table.append(body);
}

function configuration() {
  compared(find("settings"), report.settings, true);
  compared(find("environment"), report.environment, false);
  if (runs.length < 2) return;
  const box = find("only-different");
  const show = () => {
    for (const line of find("settings").tBodies[0].rows) line.hidden = box.checked && !line.classList.contains("differs");
  };
  box.parentElement.hidden = false;
  box.checked = report.differing.length > 0;
  box.addEventListener("change", show);
  show();
}
