/* Lane j of the lower eight is column 2j, which sees pixels 4j to 4j + 3; of the upper 2j + 1. */
const size_t from = 4 * (wasm_lane & 7) + (wasm_lane & 8) / 4;
float part[4][WASM_WIDTH];
for (int t = 0; t < 4; t++)
    for (size_t j = 0; j < WASM_WIDTH; j++)
        part[t][j] = row[from + 4 * j + (size_t)t < 32 ? from + 4 * j + (size_t)t : 31];
const wasm_vec d0_0 = wasm_at(part[0]), d1_0 = wasm_at(part[1]);
const wasm_vec d2_0 = wasm_at(part[2]), d3_0 = wasm_at(part[3]);
