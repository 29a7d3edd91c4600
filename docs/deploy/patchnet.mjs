// Scores face pictures with a self-contained PatchNet graph, in a browser. All errors are sentences for the user.

let runtime;
async function onnxruntime() {
  // Loaded at first use, so that its absence can be said in a sentence.
  runtime ??= import("./onnxruntime-web/ort.wasm.bundle.min.mjs").catch(() => {
    runtime = undefined;
    throw new Error("onnxruntime-web can't be loaded: run make web, and serve this folder by HTTP.");
  });
  return runtime;
}

/** A graph, ready to score, from the bytes of its file. `name` is what errors call it. */
export async function loadScorer(bytes, name = "the model") {
  const metadata = metadataOf(bytes, name);
  if (metadata.model_type !== "patchnet" || metadata.input !== "picture" || metadata.output !== "probability") {
    throw new Error(`${name} isn't a self-contained PatchNet graph: make one by scripts/export_onnx.py --self-contained.`);
  }
  const ort = await onnxruntime();
  let session;
  try {
    session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
  } catch (error) {
    throw new Error(`${name} can't be loaded: ${firstLine(error)}`);
  }
  return new Scorer(ort, session, metadata);
}

class Scorer {
  constructor(ort, session, metadata) {
    this.ort = ort;
    this.session = session;
    this.threshold = Number(metadata.output_threshold);
    this.labels = JSON.parse(metadata.labels); // [spoof, live]
    this.preprocessing = JSON.parse(metadata.preprocessing); // face_expand, patch_size, grid ...
  }

  /** `face` as `facePixels` gives it. P(live) of the picture and of its patches, row by row; verdict; milliseconds. */
  async score(face) {
    const image = new this.ort.Tensor("uint8", face.data, [face.height, face.width, 3]);
    const start = performance.now();
    const outputs = await this.session.run({ image });
    const milliseconds = performance.now() - start;
    const probability = outputs.live_probability.data[0];
    const patches = Array.from(outputs.patch_live_probabilities.data);
    return { probability, patches, verdict: this.labels[Number(probability >= this.threshold)], milliseconds };
  }
}

/** The pixels of a file as they are: upright, but neither resized nor converted from one colour space to another. */
export async function decode(file, name = file.name ?? "the picture") {
  try {
    return await createImageBitmap(file, {
      imageOrientation: "from-image", colorSpaceConversion: "none", premultiplyAlpha: "none",
    });
  } catch {
    throw new Error(`${name} isn't a picture that this browser can read.`);
  }
}

/** The region of a face in a photograph: the box `[x, y, w, h]` grown about its centre and clipped to the picture. */
export function faceRegion(width, height, box, expand) {
  if (!box) return { left: 0, top: 0, width, height };
  const [x, y, w, h] = box;
  const [left, right] = [x + w / 2 - (w * expand) / 2, x + w / 2 + (w * expand) / 2].map(roundHalfToEven);
  const [top, bottom] = [y + h / 2 - (h * expand) / 2, y + h / 2 + (h * expand) / 2].map(roundHalfToEven);
  const region = { left: Math.max(left, 0), top: Math.max(top, 0) };
  region.width = Math.min(right, width) - region.left;
  region.height = Math.min(bottom, height) - region.top;
  if (!(region.width > 0 && region.height > 0)) {
    throw new Error(`The face box ${box.join(", ")} lies outside the picture of ${width} x ${height} pixels.`);
  }
  return region;
}

/** The RGB bytes of a region of a bitmap, row by row. */
export function facePixels(bitmap, { left, top, width, height }) {
  // In memory, not on the graphics card, whose canvases may round.
  const canvas = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  canvas.drawImage(bitmap, -left, -top);
  const rgba = canvas.getImageData(0, 0, width, height).data;
  const data = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; from < rgba.length; from += 4) {
    // A canvas doesn't keep the colours under transparency, which a model would see.
    if (rgba[from + 3] !== 255) throw new Error("The picture is partly transparent; it must be opaque.");
    data[to++] = rgba[from];
    data[to++] = rgba[from + 1];
    data[to++] = rgba[from + 2];
  }
  return { data, width, height };
}

/** The metadata of an ONNX file, which onnxruntime-web doesn't give: `metadata_props`, field 14 of its ModelProto. */
export function metadataOf(bytes, name = "the model") {
  const text = new TextDecoder();
  const metadata = {};
  try {
    for (const [number, entry] of fields(bytes)) {
      if (number !== 14) continue;
      const { 1: key, 2: value } = Object.fromEntries(fields(entry)); // a StringStringEntryProto
      metadata[text.decode(key)] = text.decode(value);
    }
  } catch {
    throw new Error(`${name} isn't an ONNX graph, or is cut off.`);
  }
  return metadata;
}

/** Numbers and values of a protobuf message's fields; a length-delimited value is a part of the message's bytes. */
function* fields(message) {
  let at = 0;
  const varint = () => {
    for (let value = 0, scale = 1; ; scale *= 128) {
      if (at >= message.length) throw new RangeError("cut off");
      const byte = message[at++];
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  while (at < message.length) {
    const key = varint();
    const [number, kind] = [Math.floor(key / 8), key % 8];
    if (kind === 0) {
      yield [number, varint()];
      continue;
    }
    // Of other kinds the length is no number, and the comparison is false.
    const length = kind === 2 ? varint() : { 1: 8, 5: 4 }[kind];
    if (!(at + length <= message.length)) throw new RangeError("cut off");
    yield [number, message.subarray(at, at + length)];
    at += length;
  }
}

/** As Python rounds. */
function roundHalfToEven(value) {
  const below = Math.floor(value);
  return value - below === 0.5 ? below + Math.abs(below % 2) : Math.round(value);
}

function firstLine(error) {
  return String(error.message ?? error).split("\n")[0];
}
