// Draws the points of a map on a canvas, pixel by pixel: 100,000 points take some milliseconds, without a GPU.

const SIZES = [[500, 9], [5000, 6], [30000, 4], [Infinity, 2.6]]; // diameters in CSS pixels, by the number of points
const LARGEST = 4; // times that size, when zoomed in
const OPACITY = 0.8;
const FADED = 0.15; // the opacity of points outside of a selection, relative to the others
const RING = 8; // the radius of the ring around a hit, in CSS pixels

export class MapCanvas {
  constructor(frame) {
    this.frame = frame;
    this.canvas = document.createElement("canvas");
    this.context = this.canvas.getContext("2d", { alpha: false });
    this.kernels = new Map();
    frame.replaceChildren(this.canvas);
  }

  /** Prepare points: `x`, `y` and `group` by row, and the number of the color of each group. */
  load({ x, y, group, groups }) {
    this.x = Float32Array.from(x);
    this.y = Float32Array.from(y);
    this.group = Uint8Array.from(group);
    this.numbers = groups.map(({ color }) => color);
    this.order = shuffled(x.length);
  }

  /** Read the colors of the style sheet, which differ in light and dark. */
  #colors() {
    const style = getComputedStyle(this.frame);
    const color = (name) => parseInt(style.getPropertyValue(name).trim().slice(1), 16);
    this.ground = color("--ground");
    this.ink = color("--ink");
    this.palette = this.numbers.map((number) => color(number ? `--c${number}` : "--quiet"));
  }

  /** Draw what is in view.
   *
   * `box` is [left, top, width, height] in the map's units, `zoom` how much it is enlarged. `lit` are rows with a ring,
   * `chosen` a set of rows: if it is not empty, the others fade.
   */
  draw(box, zoom, lit, chosen) {
    const ratio = window.devicePixelRatio || 1;
    const width = Math.max(1, Math.round(this.frame.clientWidth * ratio));
    const height = Math.max(1, Math.round(this.frame.clientHeight * ratio));
    if (this.canvas.width !== width || this.canvas.height !== height || !this.image) {
      Object.assign(this.canvas, { width, height });
      this.image = this.context.createImageData(width, height);
      this.pixels = new Uint32Array(this.image.data.buffer);
    }
    this.#colors();
    this.pixels.fill(asPixel(this.ground));
    const scale = width / box[2];
    const count = this.x.length;
    const size = SIZES.find(([most]) => count <= most)[1] * Math.min(LARGEST, Math.max(1, Math.sqrt(zoom))) * ratio;
    const isChosen = new Uint8Array(chosen.size ? count : 0);
    for (const row of chosen) isChosen[row] = 1;
    if (chosen.size) this.#points(box, scale, this.#kernel(size, OPACITY * FADED), isChosen, 0);
    this.#points(box, scale, this.#kernel(size, OPACITY), isChosen, 1);
    this.context.putImageData(this.image, 0, 0);
    this.#rings(box, scale, lit, ratio);
  }

  /** Blend points into the pixels; if there are marks, only those that have this one. */
  #points([left, top], scale, { reach, places, weights }, marks, mark) {
    const { x, y, group, order, pixels, palette } = this;
    const { width, height } = this.canvas;
    const marked = marks.length > 0;
    const offsets = places.map(([right, down]) => down * width + right);
    const size = offsets.length;
    for (let at = 0; at < order.length; at += 1) {
      const row = order[at];
      if (marked && marks[row] !== mark) continue;
      const column = Math.round((x[row] - left) * scale);
      const line = Math.round((y[row] - top) * scale);
      if (column < reach || line < reach || column >= width - reach || line >= height - reach) continue;
      const color = palette[group[row]];
      const red = color >> 16;
      const green = (color >> 8) & 255;
      const blue = color & 255;
      const middle = line * width + column;
      for (let each = 0; each < size; each += 1) {
        const place = middle + offsets[each];
        const weight = weights[each];
        const under = pixels[place];
        const oldRed = under & 255;
        const oldGreen = (under >> 8) & 255;
        const oldBlue = (under >> 16) & 255;
        pixels[place] = (0xff000000
          | (oldBlue + (((blue - oldBlue) * weight) >> 8)) << 16
          | (oldGreen + (((green - oldGreen) * weight) >> 8)) << 8
          | (oldRed + (((red - oldRed) * weight) >> 8))) >>> 0;
      }
    }
  }

  /** Return the pixels of a disc and how much each is covered, of 256. */
  #kernel(size, opacity) {
    const key = `${size.toFixed(2)} ${opacity}`;
    if (this.kernels.has(key)) return this.kernels.get(key);
    const radius = size / 2;
    const reach = Math.ceil(radius);
    const places = [];
    const weights = [];
    for (let down = -reach; down <= reach; down += 1) {
      for (let right = -reach; right <= reach; right += 1) {
        const covered = Math.min(1, Math.max(0, radius + 0.5 - Math.hypot(right, down)));
        if (!covered) continue;
        places.push([right, down]);
        weights.push(Math.round(256 * covered * opacity));
      }
    }
    const made = { reach, places, weights };
    if (this.kernels.size > 50) this.kernels.clear();
    this.kernels.set(key, made);
    return made;
  }

  #rings([left, top], scale, rows, ratio) {
    const { context } = this;
    for (const [color, width] of [[this.ground, 5], [this.ink, 2.5]]) {
      context.strokeStyle = `#${color.toString(16).padStart(6, "0")}`;
      context.lineWidth = width * ratio;
      for (const row of rows) {
        context.beginPath();
        context.arc((this.x[row] - left) * scale, (this.y[row] - top) * scale, RING * ratio, 0, 2 * Math.PI);
        context.stroke();
      }
    }
  }
}

/** Return a color as a pixel of image data: red, green, blue and alpha, the lowest byte first. */
const asPixel = (color) => (0xff000000 | (color & 255) << 16 | (color & 0xff00) | color >> 16) >>> 0;

/** Return the rows in an order in which no group hides another one; always the same. */
function shuffled(count) {
  const order = Uint32Array.from({ length: count }, (_, row) => row);
  let state = 1;
  for (let at = count - 1; at > 0; at -= 1) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const other = Math.floor(state / 4294967296 * (at + 1));
    [order[at], order[other]] = [order[other], order[at]];
  }
  return order;
}
