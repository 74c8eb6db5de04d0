// Elements and scales. Text only ever enters the page as text: nothing here reads markup.
const SVG = "http://www.w3.org/2000/svg";

function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

const ruler = document.createElement("canvas").getContext("2d");

function widthOf(text) {
  ruler.font = "12px system-ui, DejaVu Sans, sans-serif";
  return ruler.measureText(text).width;
}

function shortened(text, room) {
  const line = text.replace(/\s+/g, " ");
  if (widthOf(line) <= room) return line;
  let end = Math.max(1, Math.floor((line.length * room) / widthOf(line)));
  while (end > 1 && widthOf(line.slice(0, end) + "…") > room) end -= 1;
  return line.slice(0, end) + "…";
}

function figure(value, unit) {
  if (value === null || value === undefined) return "–";
  if (unit === "rate") return `${(100 * value).toFixed(1)} %`;
  if (unit === "points") return `${value > 0 ? "+" : ""}${(100 * value).toFixed(1)}`;
  const size = Math.abs(value);
  if (size >= 1000 || Number.isInteger(value)) return value.toLocaleString("en", { maximumFractionDigits: 0 });
  return size !== 0 && size < 0.001 ? value.toExponential(1) : String(Number(value.toPrecision(3)));
}

// Round steps that cover [low, high] in about `wanted` parts.
function ticks(low, high, wanted) {
  const span = high - low || Math.abs(high) || 1;
  const rough = span / Math.max(1, wanted);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough * 0.999);
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9) * step; at <= high + step * 1e-9; at += step) {
    found.push(Math.abs(at) < step * 1e-9 ? 0 : Number(at.toPrecision(12)));
  }
  return found;
}

function linear(low, high, from, to) {
  const span = high - low || 1;
  return (value) => from + ((value - low) / span) * (to - from);
}

function tick(value, unit) {
  const hundredths = Number((100 * value).toPrecision(4));
  if (unit === "points") return `${value > 0 ? "+" : ""}${hundredths}`;
  return unit === "rate" ? `${hundredths} %` : figure(value, unit);
}

function label(x, y, text, attributes = {}) {
  return svg("text", { x, y, ...attributes }, text);
}

function rule(x1, y1, x2, y2, kind) {
  return svg("line", { x1, y1, x2, y2, class: kind });
}

function told(node, text) {
  node.append(svg("title", {}, text));
  return node;
}
