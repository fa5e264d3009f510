// Types of lenet.js.

/** Which code runs: with fused multiply-add, with SIMD, or without. All give the same bits. */
export type Variant = "relaxed" | "simd128" | "plain";

export interface Answer {
  /** The class of the largest probability. */
  label: string;
  /** One for each class of `network.labels`. */
  probabilities: Float32Array;
  /** What the network answers, before softmax. */
  logits: Float32Array;
  /** Of a picture: the 28x28 pixels that the network sees, and what was assumed. */
  picture?: Picture;
}

export interface Picture {
  /** White ink on black, 28 rows of 28. */
  pixels: Uint8Array;
  [assumption: string]: unknown;
}

/** Feature maps after pooling, `[channel][row][column]`. */
export interface Maps {
  channels: number;
  height: number;
  width: number;
  data: Float32Array;
}

/** Pixels of red, green, blue and alpha, as `CanvasRenderingContext2D.getImageData` gives them. */
export interface Pixels {
  data: Uint8ClampedArray | Uint8Array;
  width: number;
  height: number;
}

/** A canvas of a page or of a worker. */
export interface Canvas {
  width: number;
  height: number;
  getContext(kind: "2d"): unknown;
}

export interface Network {
  /** The code that was chosen. */
  readonly variant: Variant;
  /**
   * Classify one image.
   * @param input A picture of a digit: `ImageData`, or a canvas, of any size; or a digit as in
   *   MNIST: 28 rows of 28 bytes, white ink on black; or normalised floats, as `run` takes them.
   * @throws TypeError it is none of these.
   * @throws RangeError it has another length, is not finite, or shows no digit.
   */
  predict(input: Pixels | Canvas | Uint8Array | Uint8ClampedArray | Float32Array): Answer;
  /**
   * Logits of a batch; an image's do not depend on those beside it.
   * @param images Normalised images one after the other, as `network.input` says.
   * @throws TypeError it is no Float32Array.
   * @throws RangeError it is no whole number of images, or not finite.
   */
  run(images: Float32Array): Float32Array;
  /**
   * What the two convolutions made of the last image.
   * @throws Error there was none, or the network is not of LeNet's own layers.
   */
  features(): { conv1: Maps; conv2: Maps };
}

export interface Options {
  /** This code or an error; by default the best that runs here. */
  variant?: Variant;
  /** Refuse NaN and infinities; true by default. */
  checkFinite?: boolean;
}

/**
 * Load the network.
 * @param source lenet.wasm: its URL, by default beside lenet.js; its bytes; or a fetch's Response.
 * @throws Error there is no WebAssembly, or the file is damaged or of another network.
 * @throws TypeError the source or the options are of another kind.
 */
export function load(
  source?: string | URL | ArrayBuffer | Uint8Array | Response,
  options?: Options,
): Promise<Network>;

/** What this network takes and answers. */
export const network: {
  readonly precision: string;
  readonly labels: readonly string[];
  /** `[channels][height][width]` floats an image, `(pixel / 255 - mean) / std`. */
  readonly input: { channels: number; height: number; width: number; classes: number };
  readonly padding: number;
  readonly mean: number | readonly number[];
  readonly std: number | readonly number[];
  readonly answers: "logits" | "log_probabilities" | "probabilities";
  readonly weights: string;
  readonly wasmBytes: number;
  readonly maps: readonly (readonly [number, number, number])[] | null;
  readonly mapsStride: number;
};
