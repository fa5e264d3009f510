static void wasm_NAME_lanes(PARAMETERS);
static void wasm_NAME(PARAMETERS)
{
BEFORE    for (size_t lane = 0; lane < LANES; lane += WASM_WIDTH) {
        COUNTER = lane;
INSIDE        wasm_NAME_lanes(ARGUMENTS);
    }
}
