// Puts charts, lists and coloured texts where the page has left room for them.
const KINDS = { dots, lines, bars, reliability };
const data = JSON.parse(document.getElementById("data").textContent);

function chart(place) {
  const spec = data.charts[Number(place.dataset.chart)];
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
