// Draws the scores of patches over a picture.

// Matplotlib's RdYlBu: red and blue are told apart by nearly everyone, red and green are not.
const COLORS = [
  [165, 0, 38], [215, 48, 39], [244, 109, 67], [253, 174, 97], [254, 224, 144], [255, 255, 191],
  [224, 243, 248], [171, 217, 233], [116, 173, 209], [69, 117, 180], [49, 54, 149],
];
const LONGEST = 800; // side of the drawing in its own pixels, so that numbers are sharp over small pictures, too
const OPACITY = 0.55;

/** Colour of a live probability: red at 0, yellow at the threshold, blue at 1. */
export function color(probability, threshold) {
  const place = probability < threshold ? probability / threshold / 2 : 0.5 + (probability - threshold) / (1 - threshold) / 2;
  const step = Math.min(place, 1) * (COLORS.length - 1);
  const first = Math.min(Math.floor(step), COLORS.length - 2);
  return COLORS[first].map((value, channel) => Math.round(value + (step - first) * (COLORS[first + 1][channel] - value)));
}

/** Style of a table's cell. */
export function paint(probability, threshold) {
  const [red, green, blue] = color(probability, threshold);
  const light = 0.299 * red + 0.587 * green + 0.114 * blue > 130;
  return { background: `rgb(${red} ${green} ${blue})`, color: light ? "#000" : "#fff" };
}

/** The scale from 0 to 1 with the threshold in the middle, as CSS. */
export function gradient() {
  return `linear-gradient(to right, ${COLORS.map((rgb) => `rgb(${rgb.join(" ")})`)})`;
}

/** `[left, top, right, bottom]` of the patches in the picture's pixels, row by row, as the graph cuts them. */
export function patchPlaces({ left, top, width, height }, { mode, patch_size: size, grid, resize_size: resized }) {
  if (mode === "resize") {
    const share = (resized - size) / 2 / resized;
    return [[left + share * width, top + share * height, left + (1 - share) * width, top + (1 - share) * height]];
  }
  // A face smaller than a patch is padded evenly, so the patch's part of it is all of it.
  const starts = (length) => {
    const last = Math.max(length - size, 0);
    return Array.from({ length: grid }, (_, index) => (grid > 1 ? Math.round((index * last) / (grid - 1)) : last / 2));
  };
  return starts(height).flatMap((down) => starts(width).map((right) => [
    left + right, top + down, left + Math.min(right + size, width), top + Math.min(down + size, height),
  ]));
}

/** The picture on a canvas, each spot under the mean colour of the patches that cover it. */
export function drawOverlay(canvas, bitmap, region, patches, threshold, preprocessing) {
  const scale = LONGEST / Math.max(bitmap.width, bitmap.height);
  canvas.width = Math.max(Math.round(bitmap.width * scale), 1);
  canvas.height = Math.max(Math.round(bitmap.height * scale), 1);
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.filter = "grayscale(1)"; // the picture's own colours would pass for scores
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  context.filter = "none";
  const places = patchPlaces(region, preprocessing).map((place) => place.map((side) => side * scale));
  const edges = (axis) => [...new Set(places.flatMap((place) => [place[axis], place[axis + 2]]))].sort((a, b) => a - b);
  const [columns, rows] = [edges(0), edges(1)];
  for (let row = 1; row < rows.length; row++) {
    for (let column = 1; column < columns.length; column++) {
      const [left, top, right, bottom] = [columns[column - 1], rows[row - 1], columns[column], rows[row]];
      const over = patches.filter((_, index) => {
        const place = places[index];
        return place[0] <= left && right <= place[2] && place[1] <= top && bottom <= place[3];
      });
      if (!over.length) continue;
      const mean = over.reduce((sum, value) => sum + value, 0) / over.length;
      context.fillStyle = `rgb(${color(mean, threshold).join(" ")} / ${OPACITY})`;
      context.fillRect(left, top, right - left, bottom - top);
    }
  }
  writeNumbers(context, places, patches);
}

function writeNumbers(context, places, patches) {
  const centers = places.map(([left, top, right, bottom]) => [(left + right) / 2, (top + bottom) / 2]);
  const room = Math.min(...centers.flatMap(([x, y], index) =>
    centers.slice(0, index).map(([a, b]) => Math.max(Math.abs(x - a) / 2, Math.abs(y - b)))));
  const size = Math.min(room * 0.75, 34);
  // Where patches lie nearly on each other the table has to do.
  if (size < 18) return;
  context.font = `600 ${size}px system-ui, "Liberation Sans", sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.lineWidth = size / 6;
  context.strokeStyle = "#fff";
  context.fillStyle = "#000";
  centers.forEach(([x, y], index) => {
    context.strokeText(patches[index].toFixed(2), x, y);
    context.fillText(patches[index].toFixed(2), x, y);
  });
}
