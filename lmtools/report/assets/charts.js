// One function a kind of chart: (spec, width) -> { picture, legend }. Widths are those of the screen, so that
// text stays readable on a phone; colours and strokes are the style sheet's.
const COLOURS = 8;
const BOLD = 1.12;
const LABEL = 14; // from one name at a line's end to the next
const BANDED = 6; // as many lines as have a band each; of more only the strong one has
const MARKED = 30; // as many points of a line as have a marker each

function canvas(width, height) {
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true" });
}

function inWords([value, low, high], unit) {
  return low === null ? figure(value, unit) : `${figure(value, unit)} [${figure(low, unit)}, ${figure(high, unit)}]`;
}

// rows: [name, value, low, high]
function dots(spec, width) {
  const narrow = width < 520;
  const words = spec.rows.map(([, ...found]) => inWords(found, spec.unit));
  const right = narrow ? 12 : Math.max(...words.map(widthOf)) * BOLD + 14;
  const left = narrow ? 8 : Math.min(width * 0.36, Math.max(...spec.rows.map(([name]) => widthOf(name))) * BOLD + 14);
  const step = narrow ? 44 : 26;
  const height = spec.rows.length * step + 24;
  const ends = spec.rows.flatMap(([, ...found]) => found).filter((value) => value !== null);
  let [low, high] = [Math.min(...ends), Math.max(...ends)];
  if (spec.zero) [low, high] = [Math.min(low, 0), Math.max(high, 0)];
  const margin = (high - low || Math.abs(high) || 1) * 0.06;
  const x = linear(low - margin, high + margin, left, width - right);
  const picture = canvas(width, height);
  for (const at of ticks(low - margin, high + margin, narrow ? 4 : 6)) {
    picture.append(rule(x(at), 0, x(at), height - 20, "grid-line"));
    picture.append(label(x(at), height - 5, tick(at, spec.unit), { "text-anchor": "middle", class: "soft" }));
  }
  if (spec.zero) picture.append(rule(x(0), 0, x(0), height - 20, "axis-line"));
  spec.rows.forEach(([name, value, from, to], place) => {
    const y = place * step + (narrow ? 32 : 14);
    const strong = name === spec.strong;
    const row = svg("g", { class: strong ? "s1" : "s0" });
    const kind = strong ? "strong" : "";
    if (narrow) {
      row.append(label(2, y - 14, shortened(name, width - (widthOf(words[place]) + 18) * BOLD), { class: kind }));
      row.append(label(width - 2, y - 14, words[place], { "text-anchor": "end", class: kind }));
    } else {
      row.append(label(left - 8, y + 4, shortened(name, (left - 12) / (strong ? BOLD : 1)), { "text-anchor": "end", class: kind }));
      row.append(label(width - right + 10, y + 4, words[place], { class: kind }));
    }
    if (from !== null) row.append(rule(x(from), y, x(to), y, "whisker"));
    if (value !== null) row.append(svg("circle", { cx: x(value), cy: y, r: 4.5, class: "dot" }));
    picture.append(told(row, `${name}: ${words[place]}`));
  });
  return { picture };
}

// lines: [{ name, flat, points: [[x, y, low?, high?]] }]
//
// Every line ends in its name; where there is no room for names, in a letter that the list below explains.
function lines(spec, width) {
  const count = spec.lines.length;
  const longest = Math.max(...spec.lines.map((line) => widthOf(line.name))) * BOLD;
  const named = longest < width * 0.4;
  const learning = spec.lines.filter((line) => !line.flat).length;
  const tags = spec.lines.map((line, place) => (named ? line.name : letter(place)));
  const right = (named ? longest : 2 * widthOf("W")) + 20;
  const height = Math.round(Math.max(Math.min(320, Math.max(180, width * 0.5)), count * LABEL + 60));
  const all = spec.lines.flatMap((line) => line.points);
  const xs = [...new Set(spec.lines.flatMap((line) => (line.flat ? [] : line.points.map(([at]) => at))))].sort((a, b) => a - b);
  if (xs.length === 0) xs.push(0, 1);
  const shown = all.flatMap(([, y, from, to]) => [y, ...(spec.bands && from !== undefined ? [from, to] : [])]);
  const [least, most] = [Math.min(...shown), Math.max(...shown)];
  const margin = (most - least || Math.abs(most) || 1) * 0.08;
  const [low, high] = [least - margin, most + margin];
  const marks = ticks(low, high, 4);
  const left = Math.max(...marks.map((at) => widthOf(tick(at, spec.unit)))) + 10;
  const bottom = 36;
  const y = linear(low, high, height - bottom, 18);
  const along = spec.even
    ? (at) => linear(0, Math.max(1, xs.length - 1), left + 6, width - right)(xs.indexOf(at))
    : linear(xs[0], xs[xs.length - 1], left, width - right);
  const picture = canvas(width, height);
  picture.append(label(0, 11, spec.y, { class: "soft" }));
  for (const at of marks) {
    picture.append(rule(left, y(at), width - right, y(at), "grid-line"));
    picture.append(label(left - 5, y(at) + 4, tick(at, spec.unit), { "text-anchor": "end", class: "soft" }));
  }
  const under = spec.even ? xs : ticks(xs[0], xs[xs.length - 1], Math.max(2, Math.floor((width - right) / 90)));
  for (const at of under) {
    picture.append(label(along(at), height - bottom + 15, tick(at, "number"), { "text-anchor": "middle", class: "soft" }));
  }
  picture.append(label((left + width - right) / 2, height - 4, spec.x, { "text-anchor": "middle", class: "soft" }));
  const legend = element("ul", { class: "legend" });
  spec.lines.forEach((line, place) => {
    const look = `s${place % COLOURS} dash${place % 3} ${line.name === spec.strong ? "strong" : ""}`;
    const group = svg("g", { class: look });
    const points = line.flat ? [[xs[0], line.points[0][1]], [xs[xs.length - 1], line.points[0][1]]] : line.points;
    const path = points.map(([at, value], turn) => {
      return `${turn ? "L" : "M"}${along(at).toFixed(1)} ${y(value).toFixed(1)}`;
    });
    const banded = line.points.filter((point) => point.length === 4);
    if (banded.length > 1 && !line.flat && (line.name === spec.strong || learning <= BANDED)) {
      const edge = [...banded.map(([at, , , to]) => `${along(at)},${y(to)}`), ...banded.reverse().map(([at, , from]) => `${along(at)},${y(from)}`)];
      group.append(svg("polygon", { points: edge.join(" "), class: "band" }));
    }
    group.append(svg("path", { d: path.join(""), class: `series ${look} ${line.flat ? "flat" : ""}` }));
    if (!line.flat && points.length <= MARKED) {
      for (const [at, value, ...ends] of line.points) {
        const said = inWords(ends.length ? [value, ...ends] : [value, null, null], spec.unit);
        const dot = svg("path", { d: marker(place, along(at), y(value)), class: "dot" });
        group.append(told(dot, `${line.name}, ${figure(at, "number")}: ${said}`));
      }
    }
    picture.append(told(group, line.name));
    const sample = svg("svg", { viewBox: "0 0 26 12", class: look, "aria-hidden": "true" });
    sample.append(svg("path", { d: "M1 6H25", class: `series ${look} ${line.flat ? "flat" : ""}` }));
    if (!line.flat && points.length <= MARKED) sample.append(svg("path", { d: marker(place, 13, 6), class: "dot" }));
    legend.append(element("li", {}, sample, `${tags[place]}: ${line.name}`));
  });
  // The names, in the order of the lines' ends, each at its end or as near as the others let it.
  const ends = spec.lines.map((line) => {
    const [at, value] = line.flat ? [xs[xs.length - 1], line.points[0][1]] : line.points[line.points.length - 1];
    return { x: along(at), y: y(value) };
  });
  const heights = spread(ends.map((end) => end.y), 12, height - bottom, LABEL);
  ends.forEach((end, place) => {
    const look = `s${place % COLOURS}`;
    const edge = width - right + 12;
    picture.append(svg("path", { d: `M${end.x + 4} ${end.y}L${edge} ${heights[place]}`, class: `leader ${look}` }));
    const strong = spec.lines[place].name === spec.strong ? "strong" : "";
    picture.append(label(edge + 3, heights[place] + 4, tags[place], { class: `end ${look} ${strong}` }));
  });
  return { picture, legend: named ? null : legend };
}

function letter(place) {
  return (place >= 26 ? letter(Math.floor(place / 26) - 1) : "") + String.fromCharCode(65 + (place % 26));
}

// Heights as near to the given ones as a distance of `gap` between any two lets them be, from low to high.
function spread(wanted, low, high, gap) {
  const order = wanted.map((_, place) => place).sort((a, b) => wanted[a] - wanted[b]);
  const heights = [...wanted];
  let least = low;
  for (const place of order) {
    heights[place] = Math.max(heights[place], least);
    least = heights[place] + gap;
  }
  let most = high;
  for (const place of order.reverse()) {
    heights[place] = Math.min(heights[place], most);
    most = heights[place] - gap;
  }
  return heights;
}

// A shape for each of a chart's lines, so that colour alone tells none from another.
function marker(place, x, y) {
  const shapes = [
    "m-3.2 0a3.2 3.2 0 1 0 6.4 0a3.2 3.2 0 1 0-6.4 0z", "m-3-3h6v6h-6z", "m0-4l3.8 6.6h-7.6z", "m0-4.2l4.2 4.2l-4.2 4.2l-4.2-4.2z",
    "m0 4l-3.8-6.6h7.6z", "m-1.2-4h2.4v2.8h2.8v2.4h-2.8v2.8h-2.4v-2.8h-2.8v-2.4h2.8z", "m-4-1.3h8v2.6h-8z",
  ];
  return `M${x.toFixed(1)} ${y.toFixed(1)}${shapes[place % shapes.length]}`;
}

// rows: [name, value], groups: one a row or none
function bars(spec, width) {
  return spec.upright ? uprightBars(spec, width) : lyingBars(spec, width);
}

function groupColours(spec) {
  const names = [...new Set(spec.groups)];
  const legend = names.length < 2 ? null : element("ul", { class: "legend" });
  names.forEach((name, place) => {
    const sample = svg("svg", { viewBox: "0 0 26 12", class: `s${place % COLOURS}`, "aria-hidden": "true" });
    sample.append(svg("rect", { x: 7, y: 0, width: 12, height: 12, class: "fill" }));
    if (legend) legend.append(element("li", {}, sample, name));
  });
  return { look: (place) => `s${Math.max(0, names.indexOf(spec.groups[place])) % COLOURS}`, legend };
}

function lyingBars(spec, width) {
  const { look, legend } = groupColours(spec);
  const words = spec.rows.map(([, value]) => figure(value, spec.unit));
  const left = Math.min(width * 0.42, Math.max(...spec.rows.map(([name]) => widthOf(name))) + 12);
  const right = Math.max(...words.map(widthOf)) + 10;
  const values = spec.rows.map(([, value]) => value);
  const marked = spec.mark ? [spec.mark[0]] : [];
  const x = linear(Math.min(0, ...values), Math.max(0, ...values, ...marked), left, width - right);
  const height = spec.rows.length * 22 + (spec.mark ? 18 : 4);
  const picture = canvas(width, height);
  spec.rows.forEach(([name, value], place) => {
    const y = place * 22 + 2;
    const [from, to] = [Math.min(x(0), x(value)), Math.max(x(0), x(value))];
    const row = svg("g", { class: look(place) });
    row.append(label(left - 8, y + 13, shortened(name, left - 10), { "text-anchor": "end" }));
    row.append(svg("rect", { x: from, y: y + 1, width: Math.max(1, to - from), height: 16, class: "fill" }));
    row.append(label(to + 5, y + 13, words[place], { class: "soft" }));
    picture.append(told(row, `${name}: ${words[place]}`));
  });
  if (spec.mark) {
    const at = x(spec.mark[0]);
    picture.append(rule(at, 0, at, height - 16, "dashed"));
    const end = at > width / 2;
    picture.append(label(at, height - 4, spec.mark[1], { "text-anchor": end ? "end" : "start", class: "soft" }));
  }
  return { picture, legend };
}

function uprightBars(spec, width) {
  const { look, legend } = groupColours(spec);
  const height = 190;
  const values = spec.rows.map(([, value]) => value);
  const marked = spec.mark ? [spec.mark[0]] : [];
  const [low, high] = [Math.min(0, ...values), Math.max(0, ...values, ...marked) * 1.05 || 1];
  const marks = ticks(low, high, 4);
  const left = Math.max(...marks.map((at) => widthOf(tick(at, spec.unit)))) + 10;
  const y = linear(low, high, height - 18, 18);
  const room = (width - left - 6) / spec.rows.length;
  const picture = canvas(width, height);
  picture.append(label(0, 11, spec.y, { class: "soft" }));
  for (const at of marks) {
    picture.append(rule(left, y(at), width - 6, y(at), "grid-line"));
    picture.append(label(left - 5, y(at) + 4, tick(at, spec.unit), { "text-anchor": "end", class: "soft" }));
  }
  const every = Math.ceil(Math.max(...spec.rows.map(([name]) => widthOf(name) + 8)) / room);
  spec.rows.forEach(([name, value], place) => {
    const top = Math.min(y(0), y(value));
    const bar = svg("rect", {
      x: left + place * room, y: top, width: Math.max(0.6, room * (spec.rows.length > 60 ? 1 : 0.84)),
      height: Math.max(0.5, Math.abs(y(value) - y(0))), class: `fill ${look(place)}`,
    });
    picture.append(told(bar, `${name}: ${figure(value, spec.unit)}`));
    if (spec.rows.length <= 40 && place % every === 0) {
      picture.append(label(left + (place + 0.42) * room, height - 4, name, { "text-anchor": "middle", class: "soft" }));
    }
  });
  if (spec.mark) {
    picture.append(rule(left, y(spec.mark[0]), width - 6, y(spec.mark[0]), "dashed"));
    picture.append(label(width - 6, y(spec.mark[0]) - 4, spec.mark[1], { "text-anchor": "end", class: "soft" }));
  }
  return { picture, legend };
}
