static inline ATTRIBUTE ISA_vec ISA_tanh(ISA_vec x)
{
    ISA_vec power;
    const ISA_vec twice = ISA_min(ISA_splat(lenet_exp + 14), ISA_add(x, x));
    const ISA_vec part = ISA_part(ISA_max(ISA_splat(lenet_exp + 15), twice), &power);
    const ISA_vec less = ISA_fma(power, part, ISA_sub(power, ISA_splat(lenet_exp + 10)));
    return ISA_div(less, ISA_add(less, ISA_splat(lenet_exp + 11)));
}

