/* e^x - 1 = power * part + power - 1, where part is small, so that near 0 nothing cancels. */
static inline ATTRIBUTE ISA_vec ISA_part(ISA_vec x, ISA_vec *power)
{
    const ISA_vec magic = ISA_splat(lenet_exp + 1);
    const ISA_vec t = ISA_fma(x, ISA_splat(lenet_exp), magic), n = ISA_sub(t, magic);
    ISA_vec r = ISA_fma(n, ISA_splat(lenet_exp + 2), x);
    r = ISA_fma(n, ISA_splat(lenet_exp + 3), r);
    ISA_vec p = ISA_splat(lenet_exp + 4);
    for (int i = 5; i < 10; i++)
        p = ISA_fma(p, r, ISA_splat(lenet_exp + i));
    *power = ISA_power(t);
    return ISA_fma(ISA_mul(r, r), p, r);
}

