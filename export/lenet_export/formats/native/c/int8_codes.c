static ATTRIBUTE void ISA_codes(
    const int32_t *sums, size_t outputs, size_t stride, const float *scale, CODE *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (size_t v = stride * i; v < stride * i + outputs; v += LANES)
            ISA_put(x + v, ISA_code(ISA_load(sums + v), ISA_floats(scale + v - stride * i)));
}

