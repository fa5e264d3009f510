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
  /** What the network sees: 28 rows of 28 bytes, white ink on black. */
  digit: Uint8Array;
  /** Whether the picture had dark ink on light paper. */
  inverted: boolean;
  /** What was done with it. */
  notes: string[];
  /** What makes it doubtful that this is one digit. */
  warnings: string[];
}

/** A layer's feature maps after pooling, each row by row. */
export interface Layer {
  name: "conv1" | "conv2";
  width: number;
  height: number;
  planes: Float32Array[];
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
   * What the two convolutions made of the last image; empty for a network of other layers than
   * LeNet's. Of int8, in steps of the quantisation.
   * @throws Error there was no image yet.
   */
  features(): Layer[];
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
  /** Floats of an image, `[channels][height][width]`: `(pixel / 255 - mean) / std`. */
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  /** Black pixels on every side of what `predict` takes as bytes. */
  readonly padding: number;
  readonly mean: number | readonly number[];
  readonly std: number | readonly number[];
  /** What `run` answers. */
  readonly answers: "logits" | "log_probabilities" | "probabilities";
  /** SHA-256 of the weights. */
  readonly weights: string;
  /** The size of lenet.wasm. */
  readonly bytes: number;
  readonly maps: readonly { count: number; side: number; stride: number; floats: number }[] | null;
};

/** Turn a picture of one digit, as a canvas has its pixels, into the network's input. */
export function fromRGBA(
  rgba: Uint8ClampedArray | Uint8Array,
  width: number,
  height: number,
  options?: { mean?: number; std?: number; padding?: number; height?: number; width?: number },
): Picture & { image: Float32Array };
