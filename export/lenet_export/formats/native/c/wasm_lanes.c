static void wasm_NAME_lanes(PARAMETERS);
static void wasm_NAME(PARAMETERS)
{
BEFORE    const size_t outer = wasm_lane;
    for (size_t lane = 0; lane < LANES; lane += WASM_WIDTH) {
        wasm_lane = lane;
INSIDE        wasm_NAME_lanes(ARGUMENTS);
    }
    wasm_lane = outer;
}
