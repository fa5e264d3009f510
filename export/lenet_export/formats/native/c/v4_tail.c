    const __m512i rest = _mm512_castps_si512(_mm512_maskz_loadu_ps(
        (__mmask16)((1u << LENET_PIXELS % 16) - 1), image + LENET_PIXELS / 16 * 16));
    most = _mm512_max_epu32(most, _mm512_and_si512(magnitude, rest));
