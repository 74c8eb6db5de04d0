// Reliability diagrams: a bin is a button, and pressing it shows its examples in the list below.
function reliability(spec, width) {
  const side = Math.min(width - 46, 330);
  const [left, top, counts] = [38, 8, 34];
  const height = top + side + counts + 34;
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "group", "aria-label": spec.title });
  const x = linear(0, 1, left, left + side);
  const y = linear(0, 1, top + side, top);
  const tallest = Math.max(1, ...spec.counts);
  for (const at of [0, 0.5, 1]) {
    picture.append(rule(x(0), y(at), x(1), y(at), "grid-line"), rule(x(at), y(0), x(at), y(1), "grid-line"));
    picture.append(label(left - 5, y(at) + 4, tick(at, "rate"), { "text-anchor": "end", class: "soft" }));
    picture.append(label(x(at), height - 20, tick(at, "rate"), { "text-anchor": "middle", class: "soft" }));
  }
  picture.append(label(x(0.5), height - 5, "confidence", { "text-anchor": "middle", class: "soft" }));
  const bins = spec.counts.map((count, place) => (count > 0 ? bin(spec, place, x, y, top + side, counts, tallest) : null));
  picture.append(...bins.filter((one) => one !== null));
  picture.append(rule(x(0), y(0), x(1), y(1), "dashed"));
  return { picture };
}

function bin(spec, place, x, y, base, room, tallest) {
  const [from, to] = [spec.edges[place], spec.edges[place + 1]];
  const [said, right, count] = [spec.confidence[place], spec.accuracy[place], spec.counts[place]];
  const [start, wide] = [x(from) + 0.5, Math.max(1, x(to) - x(from) - 1)];
  const over = said > right;
  const words =
    `confidence ${figure(from, "rate")} to ${figure(to, "rate")}: ${figure(Math.round(count), "number")} answers, ` +
    `sure of ${figure(said, "rate")}, right in ${figure(right, "rate")}`;
  const picks = spec.picks[place];
  const able = picks && spec.browser;
  const show = () => document.dispatchEvent(new CustomEvent("pick", { detail: { browser: spec.browser, picks } }));
  const node = svg("g", {
    class: able ? "bin" : "", role: able ? "button" : "img", tabindex: able ? 0 : null, "aria-label": words,
    onclick: able ? show : () => {},
    onkeydown: (event) => {
      if (able && (event.key === "Enter" || event.key === " ")) {
        event.preventDefault();
        show();
      }
    },
  });
  const [high, low] = [Math.max(said, right), Math.min(said, right)];
  node.append(svg("rect", { x: start, width: wide, y: y(right), height: y(0) - y(right), class: "bin-accuracy" }));
  node.append(svg("rect", { x: start, width: wide, y: y(high), height: y(low) - y(high), class: over ? "bin-over" : "bin-under" }));
  node.append(svg("circle", { cx: x(said), cy: y(right), r: 2.6, class: "dot s6" }));
  const tall = Math.max(1, (room * count) / tallest);
  node.append(svg("rect", { x: start, width: wide, y: base + 2, height: tall, class: "bin-count" }));
  node.append(svg("rect", { x: start, width: wide, y: y(1), height: base + room - y(1), class: "hit" }));
  return told(node, words + (able ? ". Press to see them." : ""));
}
