"use strict";
// Values as texts, and elements that hold them. No measured or declared text is ever parsed as HTML.

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function fill(table, titles, rows) {
  const line = (tag, texts) => element("tr", {}, ...texts.map((text) => element(tag, tag === "th" ? { scope: "col" } : {}, String(text))));
  table.append(element("thead", {}, line("th", titles)), element("tbody", {}, ...rows.map((texts) => line("td", texts))));
}

const find = (id) => document.getElementById(id);
const present = (value) => value !== null && value !== undefined;

// Plotly interprets some HTML tags in its texts.
const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

function formatValue(value) {
  if (value === null) return "none";
  return typeof value === "number" && !Number.isInteger(value) ? String(Number(value.toPrecision(4))) : String(value);
}

function decimal(value, digits = 4) {
  return present(value) ? value.toFixed(digits) : "–";
}

function large(value) {
  return present(value) ? Math.round(value).toLocaleString("en") : "–";
}

function duration(seconds) {
  if (!present(seconds)) return "–";
  if (seconds < 100) return `${seconds.toFixed(1)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 100) return `${minutes} min`;
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}

const ACRONYMS = { tpe: "TPE", cmaes: "CMA-ES", qmc: "QMC", asha: "ASHA" };

function words(name) {
  if (name in ACRONYMS) return ACRONYMS[name];
  const text = name.replace(/_/g, " ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}
