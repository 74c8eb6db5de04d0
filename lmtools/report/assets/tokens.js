// A text whose tokens are coloured by what was measured on them; arrow keys go from token to token.
const VISIBLE = { "\n": "⏎\n", "\t": "⇥", "": "∅" };

function tokens(spec, place) {
  const told = element("p", { class: "told", role: "status" });
  const box = element("div", { class: "text", tabindex: 0, role: "group", "aria-label": `${spec.title}: arrow keys move from token to token` });
  const scale = element("p", { class: "scale", "aria-hidden": "true" });
  let [measure, current, spans, row] = [0, -1, [], []];

  const by = element("fieldset", {}, element("legend", {}, "Colour by"));
  const choices = spec.measures.map(([name], index) => {
    const button = element("button", { type: "button", "aria-pressed": String(index === 0), onclick: () => colourBy(index) }, name);
    by.append(button);
    return button;
  });
  const which = element("select", { onchange: () => open(Number(which.value)) });
  spec.texts.forEach(([heading], index) => which.append(element("option", { value: index }, heading)));
  const controls = element("div", { class: "controls" }, by, spec.texts.length > 1 ? element("label", {}, "Text", which) : null);
  place.append(controls, scale, told, box);

  function open(index) {
    row = spec.texts[index][1];
    current = -1;
    told.textContent = "";
    spans = row.map(([text], at) => {
      const seen = (VISIBLE[text] ?? text).replace(/\n(?!$)/g, "⏎\n");
      return element("span", { class: "token", onclick: () => go(at), onmouseenter: () => tell(at) }, seen);
    });
    box.replaceChildren(...spans);
    paint();
  }

  function colourBy(index) {
    measure = index;
    choices.forEach((button, at) => button.setAttribute("aria-pressed", String(at === index)));
    paint();
  }

  function paint() {
    const [, low, high, unit, middle] = spec.measures[measure];
    spans.forEach((span, at) => {
      span.style.backgroundColor = colour(row[at][measure + 1], low, high, middle);
    });
    const bar = element("span", { class: middle === null ? "one" : "two" });
    scale.replaceChildren(figure(low, unit), bar, figure(high, unit));
  }

  function go(at) {
    if (at < 0 || at >= spans.length) return;
    if (current >= 0) spans[current].classList.remove("current");
    current = at;
    spans[at].classList.add("current");
    tell(at);
  }

  function tell(at) {
    const values = spec.measures.map(([name, , , unit], index) => `${name} ${figure(row[at][index + 1], unit)}`);
    told.textContent = `“${row[at][0]}”: ${values.join(", ")}`;
  }

  box.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    go(current < 0 ? 0 : current + step);
  });
  open(0);
}

function colour(value, low, high, middle) {
  if (value === null || value === undefined) return "";
  const part = (from, to) => Math.round(65 * Math.min(1, Math.max(0, (value - from) / (to - from || 1))));
  if (middle === null) return `color-mix(in srgb, var(--marked) ${part(low, high)}%, transparent)`;
  if (value >= middle) return `color-mix(in srgb, var(--hot) ${part(middle, high)}%, transparent)`;
  return `color-mix(in srgb, var(--cold) ${part(middle, low)}%, transparent)`;
}
