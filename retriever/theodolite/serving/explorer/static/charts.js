// Charts of lines as SVG. Lines differ by color and by dashes; the tables beside them have the figures.

const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT, LEFT, BOTTOM, TOP] = [640, 240, 48, 40, 8];
const DASHES = ["", "8 4", "2 3", "1 5"];
const TICKS = 8;

/** Return an element of SVG with attributes and children. */
function draw(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Return a chart: `x` and `y` name the axes, `lines` have a name and points. */
export function chartOf({ x, y, logarithmic, lines }) {
  const points = lines.flatMap((line) => line.points);
  const scaled = (value) => logarithmic ? Math.log10(value) : value;
  const lowest = Math.min(...points.map(([at]) => scaled(at)));
  const highest = Math.max(...points.map(([at]) => scaled(at)));
  const top = Math.max(...points.map(([, height]) => height)) || 1;
  const across = (value) => LEFT + (scaled(value) - lowest) / (highest - lowest || 1) * (WIDTH - LEFT - 8);
  const up = (value) => TOP + (1 - value / top) * (HEIGHT - TOP - BOTTOM);
  const label = `${y} by ${x}${logarithmic ? " (logarithmic)" : ""}: ${lines.map(({ name }) => name).join(", ")}`;
  const picture = draw("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label });
  const floor = up(0);
  for (const tick of logarithmic ? powers(10 ** highest) : ticks(lowest, highest)) {
    picture.append(draw("line", { class: "grid", x1: across(tick), x2: across(tick), y1: TOP, y2: floor }),
      draw("text", { x: across(tick), y: floor + 16, "text-anchor": "middle" }, short(tick)));
  }
  for (const tick of ticks(0, top)) {
    picture.append(draw("line", { class: "grid", x1: LEFT, x2: WIDTH - 8, y1: up(tick), y2: up(tick) }),
      draw("text", { x: LEFT - 6, y: up(tick) + 4, "text-anchor": "end" }, `${short(100 * tick)} %`));
  }
  picture.append(draw("text", { x: (LEFT + WIDTH) / 2, y: HEIGHT - 6, "text-anchor": "middle" }, logarithmic ? `${x} (logarithmic)` : x));
  lines.forEach((line, at) => picture.append(draw("polyline", {
    class: `c${at + 1}`, "stroke-dasharray": DASHES[at % DASHES.length], points: line.points.map(([right, height]) => `${across(right).toFixed(1)},${up(height).toFixed(1)}`).join(" "),
  })));
  const figure = document.createElement("figure");
  figure.append(picture);
  if (lines.length > 1) figure.append(legend(lines));
  return figure;
}

function legend(lines) {
  const list = document.createElement("ul");
  list.className = "legend";
  list.append(...lines.map(({ name }, at) => {
    const item = document.createElement("li");
    const sample = draw("svg", { class: "chart", viewBox: "0 0 36 10", width: 36, height: 10, "aria-hidden": "true" },
      draw("polyline", { class: `c${at + 1}`, "stroke-dasharray": DASHES[at % DASHES.length], points: "0,5 36,5" }));
    item.append(sample, " ", name);
    return item;
  }));
  return list;
}

/** Return some round numbers from `low` to `high`. */
function ticks(low, high) {
  const rough = (high - low || 1) / TICKS;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= rough);
  const found = [];
  for (let tick = Math.ceil(low / step - 1e-9); tick * step <= high + 1e-9 * step; tick += 1) found.push(tick * step);
  return found;
}

/** Return 1, 10, 100 and so on, up to `high`. */
function powers(high) {
  const found = [];
  for (let tick = 1; tick <= high * 1.0001; tick *= 10) found.push(tick);
  return found;
}

const short = (value) => String(Number(value.toPrecision(3)));
