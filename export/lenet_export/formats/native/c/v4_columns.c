const __m512 lo = _mm512_loadu_ps(row), hi = _mm512_loadu_ps(row + 16);
const __m512 d0_0 = _mm512_permutex2var_ps(
    lo, _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 2, 6, 10, 14, 18, 22, 26, 30),
    hi);
const __m512 d1_0 = _mm512_permutex2var_ps(
    lo, _mm512_setr_epi32(1, 5, 9, 13, 17, 21, 25, 29, 3, 7, 11, 15, 19, 23, 27, 31),
    hi);
const __m512 d2_0 = _mm512_permutex2var_ps(
    lo, _mm512_setr_epi32(2, 6, 10, 14, 18, 22, 26, 30, 4, 8, 12, 16, 20, 24, 28, 28),
    hi);
const __m512 d3_0 = _mm512_permutex2var_ps(
    lo, _mm512_setr_epi32(3, 7, 11, 15, 19, 23, 27, 31, 5, 9, 13, 17, 21, 25, 29, 29),
    hi);
