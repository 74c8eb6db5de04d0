// Puts charts, lists and coloured texts where the page has left room for them.
const KINDS = { dots, lines, bars, reliability };
const data = JSON.parse(document.getElementById("data").textContent);

// Without what was not measured: null would be drawn as 0. Rows of dots keep their name and have no dot.
function known(spec) {
  if (spec.kind === "lines") {
    const lines = spec.lines.map((line) => ({ ...line, points: line.points.filter((point) => !point.includes(null)) }));
    return { ...spec, lines: lines.filter((line) => line.points.length) };
  }
  if (spec.kind !== "bars") return spec;
  const there = (_, place) => spec.rows[place][1] !== null;
  return { ...spec, rows: spec.rows.filter(there), groups: spec.groups.filter(there) };
}

function isEmpty(spec) {
  if (spec.kind === "lines") return spec.lines.length === 0;
  if (spec.kind === "reliability") return !spec.counts.some((count) => count > 0);
  return !spec.rows.some(([, value]) => value !== null);
}

function chart(place) {
  const spec = known(data.charts[Number(place.dataset.chart)]);
  if (isEmpty(spec)) {
    place.replaceChildren(element("p", { class: "note" }, "Nothing was measured."));
    return;
  }
  let last = 0;
  const redraw = () => {
    const width = Math.floor(place.clientWidth);
    if (width === last || width < 40) return;
    last = width;
    const { picture, legend } = KINDS[spec.kind](spec, width);
    place.replaceChildren(picture, ...(legend ? [legend] : []));
  };
  new ResizeObserver(redraw).observe(place);
  redraw();
}

function theme() {
  const root = document.documentElement;
  const dark = () => root.dataset.theme === "dark" || (!root.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
  const button = element("button", { type: "button", class: "theme", onclick: () => {
    root.dataset.theme = dark() ? "light" : "dark";
    name();
  } });
  const name = () => { button.textContent = dark() ? "Light" : "Dark"; };
  name();
  document.querySelector(".top").prepend(button);
}

theme();
document.querySelectorAll("[data-chart]").forEach(chart);
document.querySelectorAll("[data-browser]").forEach((place) => browser(data.browsers[Number(place.dataset.browser)], data.texts, place));
document.querySelectorAll("[data-tokens]").forEach((place) => tokens(data.tokens[Number(place.dataset.tokens)], place));
