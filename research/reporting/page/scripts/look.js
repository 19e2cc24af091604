// The content of the page, and how its charts look.

const report = JSON.parse(find("report").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// No button may upload a chart, as Plotly's own does.
const BUTTONS = { displaylogo: false, plotlyServerURL: "", modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "sendChartToCloud"] };

function look() {
  return {
    paper_bgcolor: css("--card"),
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, -apple-system, Segoe UI, Roboto, sans-serif", size: 12, color: css("--soft") },
    margin: { l: 54, r: 10, t: 34, b: 40 }, // the toolbar lies in the upper one
    showlegend: false,
    hovermode: "closest",
    hoverlabel: { bgcolor: css("--card"), bordercolor: css("--line"), font: { color: css("--ink") }, align: "left" },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: css("--soft"), activecolor: css("--accent") },
  };
}

function scale(more = {}) {
  return { gridcolor: css("--grid"), linecolor: css("--line"), zerolinecolor: css("--grid"), automargin: true, ...more };
}
