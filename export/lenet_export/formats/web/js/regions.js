// Finds the connected regions of a mask and of what it leaves out, and how they nest. Twin of
// lenet_runtime/images/regions.py.

/** Regions, numbered in the order of their first pixels; 0 is the outside.
 * @typedef {object} Regions
 * @property {number} count
 * @property {Uint8Array} inMask whether each region is one of the mask's
 * @property {Int32Array} parents number of the region around each; that of the outside is 0
 * @property {Float64Array} areas pixels of each
 * @property {number[][]} boxes top, left, bottom and right of each, the last two exclusive
 * @property {(chosen: (region: number) => unknown) => Uint8Array} paint the chosen ones' pixels */

/** @param {Uint8Array} mask @param {number} width @param {number} height @returns {Regions} */
export function findRegions(mask, width, height) {
  const stride = width + 2, size = stride * (height + 2), runAt = new Int32Array(size);
  const flat = new Uint8Array(size), starts = [0];
  for (let y = 0; y < height; y++) {
    flat.set(mask.subarray(y * width, (y + 1) * width), (y + 1) * stride + 1);
  }
  for (let at = 1; at < size; at++) {
    if (flat[at] !== flat[at - 1]) starts.push(at);
    runAt[at] = starts.length - 1;  // the odd runs are the mask's
  }
  const runs = starts.length;
  starts.push(size);
  const roots = join(starts, runAt, stride);
  const ofRun = new Int32Array(runs), firsts = [];
  for (let run = 0; run < runs; run++) {
    ofRun[run] = roots[run] === run ? firsts.push(run) - 1 : ofRun[roots[run]];
  }
  const areas = new Float64Array(firsts.length);
  const boxes = firsts.map((run) => [Math.floor(starts[run] / stride) - 1, width, 0, 0]);
  for (let run = 0; run < runs; run++) {
    const box = boxes[ofRun[run]], start = starts[run], end = starts[run + 1];
    areas[ofRun[run]] += end - start;
    box[1] = Math.min(box[1], (start % stride) - 1);
    box[2] = Math.floor(end / stride);  // rows only grow
    box[3] = Math.max(box[3], (end % stride) - 1);
  }
  boxes[0] = [0, 0, height, width];
  return {
    count: firsts.length,
    inMask: Uint8Array.from(firsts, (run) => run & 1),
    // Left of the first pixel of a region lies the region around it.
    parents: Int32Array.from(firsts, (run) => ofRun[Math.max(run - 1, 0)]),
    areas,
    boxes,
    paint(chosen) {
      const isChosen = Uint8Array.from(firsts, (_, region) => Number(Boolean(chosen(region))));
      for (let run = 0; run < runs; run++) flat.fill(isChosen[ofRun[run]], starts[run], starts[run + 1]);
      const painted = new Uint8Array(width * height);
      for (let y = 0; y < height; y++) {
        const from = (y + 1) * stride + 1;
        painted.set(flat.subarray(from, from + width), y * width);
      }
      return painted;
    },
  };
}

/** Join runs that touch: those of the mask at corners too. Returns the first run of each one's region.
 * @param {number[]} starts @param {Int32Array} runAt @param {number} stride */
function join(starts, runAt, stride) {
  const roots = Int32Array.from({ length: starts.length - 1 }, (_, run) => run);
  const rootOf = (/** @type {number} */ run) => {
    while (roots[run] !== run) run = roots[run] = roots[roots[run]];
    return run;
  };
  for (let run = 0; run < roots.length; run++) {
    const odd = run & 1;
    let low = runAt[Math.max(starts[run] - stride - odd, 0)];
    const high = runAt[Math.max(starts[run + 1] - 1 - stride + odd, 0)];
    for (low += (low ^ odd) & 1; low <= high; low += 2) {
      const one = rootOf(run), other = rootOf(low);
      roots[Math.max(one, other)] = Math.min(one, other);
    }
  }
  return roots.map((_, run) => rootOf(run));
}
