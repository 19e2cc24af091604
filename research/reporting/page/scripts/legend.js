// The side bar: axis, smoothing, colours, and one legend for all charts.

function controls() {
  for (const [name, title] of Object.entries(AXES)) {
    const button = element("button", { type: "button", "data-axis": name, onclick: () => change({ axis: name }) }, title);
    find("axis").append(button);
    draws(() => button.setAttribute("aria-pressed", view.axis === name));
  }
  find("smoothing").addEventListener("input", (event) => change({ smoothing: Number(event.target.value) }));
  find("logarithmic").addEventListener("change", (event) => change({ logarithmic: event.target.checked }));
  find("logarithmic-axis").addEventListener("change", (event) => change({ logarithmicAxis: event.target.checked }));
  draws(() => { find("smoothed").textContent = view.smoothing ? view.smoothing.toFixed(2) : "off"; });
}

function colouring() {
  if (runs.length < 2) return;
  const options = [["run", "run"], ["result", `${report.metric.score_by} ${words(report.metric.name).toLowerCase()}`], ...report.differing.map(({ name, label }) => [name, label])];
  find("colour").append(...options.map(([value, text]) => element("option", { value }, text)));
  find("colouring").hidden = false;
  find("colour").value = view.colour;
  find("colour").addEventListener("change", (event) => change({ colour: event.target.value }));
}

function legend() {
  find("all").addEventListener("click", () => change({ hidden: new Set() }));
  find("none").addEventListener("click", () => change({ hidden: new Set(runs.keys()) }));
  runs.forEach((run, index) => {
    const swatch = element("span", { class: "swatch", "aria-hidden": "true" });
    const text = element("span", {}, element("b", {}, run.name), run.note ? element("small", {}, run.note) : null);
    const button = element("button", { type: "button", "data-run": run.name, onclick: () => toggle(index), ondblclick: () => only(index) }, swatch, text);
    find("runs").append(element("li", {}, button));
    draws(() => {
      button.setAttribute("aria-pressed", !view.hidden.has(index));
      swatch.style.setProperty("--colour", colour(index));
    });
  });
  draws(() => { find("shown").textContent = `${runs.length - view.hidden.size} of ${runs.length} shown`; });
  if (matchMedia("(max-width: 860px)").matches && runs.length > 4) find("legend").open = false;
  if (runs.length === 1) find("legend").hidden = true;
}
