static inline ATTRIBUTE ISA_vec ISA_sigmoid(ISA_vec x)
{
    const ISA_vec minus = ISA_sub(ISA_zero(), x);
    ISA_vec power, one = ISA_splat(lenet_exp + 10);
    const ISA_vec cut =
        ISA_max(ISA_splat(lenet_exp + 13), ISA_min(ISA_splat(lenet_exp + 12), minus));
    const ISA_vec part = ISA_part(cut, &power);
    return ISA_div(one, ISA_add(one, ISA_fma(power, part, power)));
}

