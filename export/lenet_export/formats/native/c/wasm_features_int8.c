    uint8_t *const work = workspace;
    const int16_t *const pooled = (const int16_t *)(const void *)(work + POOLED);
    const int16_t *const x0 = (const int16_t *)(const void *)(work + FEATURES);
    float logits[LENET_LOGITS];
    wasm_chunk(image, logits, 1, work);
    for (int k = 0; k < CHANNELS; k++)
        for (int y = 0; y < ROWS; y++)
            for (int x = 0; x < ROWS; x++)
                *conv1++ = pooled[ROW * y + PIXEL * x + k];
    for (int i = 0; i < TILES * TILES * WIDE; i++)
        conv2[i] = x0[i];
