    const __m512i rest = _mm512_castps_si512(_mm512_loadu_ps(image + LENET_PIXELS - 16));
    most = _mm512_max_epu32(most, _mm512_and_si512(magnitude, rest));
