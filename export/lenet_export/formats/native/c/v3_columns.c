const __m256 a = v3_two(row), b = v3_two(row + 4), c = v3_two(row + 8), d = v3_two(row + 12);
const __m256 ab = _mm256_unpacklo_ps(a, b), AB = _mm256_unpackhi_ps(a, b);
const __m256 cd = _mm256_unpacklo_ps(c, d), CD = _mm256_unpackhi_ps(c, d);
const __m256 d0_0 = _mm256_shuffle_ps(ab, cd, 0x44), d1_0 = _mm256_shuffle_ps(ab, cd, 0xee);
const __m256 d2_0 = _mm256_shuffle_ps(AB, CD, 0x44), d3_0 = _mm256_shuffle_ps(AB, CD, 0xee);
const __m256 d0_1 = d2_0, d1_1 = d3_0, d2_1 = v3_next(d0_0), d3_1 = v3_next(d1_0);
