// A list to filter, to search and to open row by row. An entry is [cells, options, detail]; long texts are
// numbers into `texts`, since many entries share them.
const AT_ONCE = 20;
const FEW = 5;

function browser(spec, texts, place) {
  const chosen = {};
  const search = element("input", { type: "search", autocomplete: "off", oninput: () => update() });
  const count = element("p", { class: "note", "aria-live": "polite", "data-count": true });
  const body = element("tbody");
  const more = element("button", { type: "button", class: "more", onclick: () => grow() });
  const head = spec.columns.map((name) => element("th", { scope: "col" }, name));
  const table = element("table", {}, element("thead", {}, element("tr", {}, ...head)), body);
  const controls = element("div", { class: "controls" });
  const setters = {};
  let [found, drawn] = [[], 0];

  spec.filters.forEach(([name, options, hidden], index) => {
    const choose = (option) => {
      chosen[index] = option;
      update();
    };
    setters[name] = choose;
    if (hidden) return;
    const counts = options.map((_, option) => spec.entries.filter(([, own]) => carries(own[index], option)).length);
    const [control, set] = (options.length <= FEW ? buttons : select)(name, options, counts, choose);
    setters[name] = set;
    controls.append(control);
  });
  controls.append(element("label", {}, "Search", search));

  function matches([cells, own, detail]) {
    if (Object.entries(chosen).some(([index, option]) => option !== null && !carries(own[index], option))) return false;
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    if (words.length === 0) return true;
    const text = [...cells, ...detail.flatMap(([heading, said, items]) => [heading, said, ...items.map(([line]) => line)])].join(" ").toLowerCase();
    return words.every((word) => text.includes(word));
  }

  function update() {
    found = spec.entries.filter(matches);
    body.replaceChildren();
    drawn = 0;
    grow();
    const left = spec.left ? ` ${spec.left.toLocaleString("en")} more are in ${spec.file}.` : "";
    const picked = Object.entries(chosen).filter(([index, option]) => option !== null && spec.filters[index][2]);
    const which = picked.map(([index, option]) => `${spec.filters[index][1][option] ?? "left out of this page"}: `).join("");
    count.textContent = `${which}${found.length.toLocaleString("en")} of ${spec.entries.length.toLocaleString("en")} shown.${left}`;
    reset.hidden = picked.length === 0;
  }

  function grow() {
    for (const entry of found.slice(drawn, drawn + AT_ONCE)) body.append(row(entry, spec, texts));
    drawn = Math.min(found.length, drawn + AT_ONCE);
    more.hidden = drawn >= found.length;
    more.textContent = `Show ${Math.min(AT_ONCE, found.length - drawn)} more`;
  }

  const reset = element("button", { type: "button", onclick: () => pick({}) }, "Show all again");
  const title = place.querySelector("h3, h4");
  title.tabIndex = -1;
  place.append(controls, count, reset, table, more);
  update();

  function pick(wanted) {
    for (const [name, options] of spec.filters) {
      setters[name](name in wanted ? options.indexOf(wanted[name]) : null);
    }
    search.value = "";
    update();
    title.focus();
    place.scrollIntoView();
  }
  document.addEventListener("pick", ({ detail }) => detail.browser === spec.name && pick(detail.picks));
}

function carries(own, option) {
  return Array.isArray(own) ? own.includes(option) : own === option;
}

function buttons(name, options, counts, choose) {
  const made = [["All", null, null], ...options.map((option, index) => [option, index, counts[index]])].map(([text, value, number]) => {
    const words = number === null ? text : `${text} (${number.toLocaleString("en")})`;
    const button = element("button", { type: "button", "aria-pressed": String(value === null), onclick: () => { set(value); choose(value); } }, words);
    return [button, value];
  });
  function set(value) {
    for (const [button, own] of made) button.setAttribute("aria-pressed", String(own === value));
  }
  const group = element("fieldset", {}, element("legend", {}, name), ...made.map(([button]) => button));
  return [group, (value) => { set(value); choose(value); }];
}

function select(name, options, counts, choose) {
  const list = element("select", { onchange: () => choose(list.value === "" ? null : Number(list.value)) });
  list.append(element("option", { value: "" }, "All"));
  options.forEach((option, index) => list.append(element("option", { value: index }, `${option} (${counts[index].toLocaleString("en")})`)));
  return [element("label", {}, name, list), (value) => { list.value = value === null ? "" : String(value); choose(value); }];
}

function row([cells, , detail], spec, texts) {
  const opener = element("button", { type: "button", "aria-expanded": "false" }, cells[0]);
  const first = element("td", {}, detail.length ? opener : cells[0]);
  const line = element("tr", {}, first, ...cells.slice(1).map((cell, place) => element("td", { "data-label": spec.columns[place + 1] }, cell)));
  let opened = null;
  opener.addEventListener("click", () => {
    const open = opener.getAttribute("aria-expanded") === "false";
    opener.setAttribute("aria-expanded", String(open));
    if (opened === null) {
      const inside = element("td", { colspan: cells.length }, ...detail.flatMap((block) => shown(block, texts)));
      opened = element("tr", { class: "detail" }, inside);
      line.after(opened);
    }
    opened.hidden = !open;
  });
  return line;
}

function shown([heading, text, items], texts) {
  const lines = items.map(([said, mark, more]) => {
    const sign = mark ? element("span", { class: `mark ${mark}` }, mark) : null;
    if (more === undefined) return element("li", {}, sign, said);
    const folded = element("details", {}, element("summary", {}, sign, said));
    folded.addEventListener("toggle", () => folded.childElementCount === 1 && folded.append(element("p", {}, texts[more])));
    return element("li", {}, folded);
  });
  return [
    element("h4", {}, heading),
    text ? element("p", {}, text) : null,
    lines.length ? element("ul", {}, ...lines) : null,
  ].filter((node) => node !== null);
}
