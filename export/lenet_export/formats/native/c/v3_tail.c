    const __m256i rest = _mm256_castps_si256(_mm256_loadu_ps(image + LENET_PIXELS - 8));
    most = _mm256_max_epu32(most, _mm256_and_si256(magnitude, rest));
