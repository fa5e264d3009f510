// Finds the connected regions of a mask and of what it leaves out, and how they nest. Twin of
// lenet_runtime/images/regions.py.

/** Regions, numbered in the order of their first pixels; 0 is the outside. Of each: whether it is one
 * of the mask's, the number of the region around it (of 0 it is 0), its pixels, and its box: top, left,
 * bottom and right, the last two exclusive. `paint` makes a mask of the chosen ones.
 * @typedef {{inMask: number[], parents: number[], areas: number[], boxes: number[][],
 *   paint: (chosen: unknown[]) => Uint8Array}} Regions */

/** @param {Uint8Array} mask @param {number} width @param {number} height @returns {Regions} */
export function findRegions(mask, width, height) {
  const stride = width + 2, size = stride * (height + 2);
  const flat = new Uint8Array(size), runAt = new Int32Array(size), starts = [0];
  for (let y = 0; y < height; y++) flat.set(mask.subarray(y * width, (y + 1) * width), (y + 1) * stride + 1);
  for (let at = 1; at < size; at++) {
    if (flat[at] !== flat[at - 1]) starts.push(at);
    runAt[at] = starts.length - 1;  // the odd runs are the mask's
  }
  starts.push(size);
  const ofRun = join(starts, runAt, stride), /** @type {number[]} */ firsts = [];
  ofRun.forEach((root, run) => (ofRun[run] = root === run ? firsts.push(run) - 1 : ofRun[root]));
  const areas = firsts.map(() => 0);
  const boxes = firsts.map((run) => [Math.floor(starts[run] / stride) - 1, width, 0, 0]);
  ofRun.forEach((region, run) => {
    const box = boxes[region], start = starts[run], end = starts[run + 1];
    areas[region] += end - start;
    box[1] = Math.min(box[1], (start % stride) - 1);
    box[2] = Math.floor(end / stride);  // rows only grow
    box[3] = Math.max(box[3], (end % stride) - 1);
  });
  boxes[0] = [0, 0, height, width];
  /** @type {Regions["paint"]} */
  const paint = (chosen) => {
    const painted = new Uint8Array(width * height);
    ofRun.forEach((region, run) => flat.fill(chosen[region] ? 1 : 0, starts[run], starts[run + 1]));
    for (let y = 1; y <= height; y++) {
      painted.set(flat.subarray(y * stride + 1, y * stride + 1 + width), (y - 1) * width);
    }
    return painted;
  };
  // Left of the first pixel of a region lies the region around it.
  const parents = firsts.map((run) => ofRun[Math.max(run - 1, 0)]);
  return { inMask: firsts.map((run) => run & 1), parents, areas, boxes, paint };
}

/** Join runs that touch, those of the mask at corners too: the first run of each one's region.
 * @param {number[]} starts @param {Int32Array} runAt @param {number} stride */
function join(starts, runAt, stride) {
  const roots = Int32Array.from({ length: starts.length - 1 }, (_, run) => run);
  const rootOf = (/** @type {number} */ run) => {
    while (roots[run] !== run) run = roots[run] = roots[roots[run]];
    return run;
  };
  for (let run = 0; run < roots.length; run++) {
    const odd = run & 1, high = runAt[Math.max(starts[run + 1] - 1 - stride + odd, 0)];
    let low = runAt[Math.max(starts[run] - stride - odd, 0)];
    for (low += (low ^ odd) & 1; low <= high; low += 2) {
      const one = rootOf(run), other = rootOf(low);
      roots[Math.max(one, other)] = Math.min(one, other);
    }
  }
  return roots.map(rootOf);
}
