/* A chain of n multiplications of integers, each of which waits for the one before: three cycles on
 * every x86-64 CPU of the last ten years. */
unsigned long chain(unsigned long n)
{
    unsigned long x = n | 1;
    for (unsigned long i = 0; i < n; i += 8)
        __asm__ volatile("imul %0, %0\n\timul %0, %0\n\timul %0, %0\n\timul %0, %0\n\t"
                         "imul %0, %0\n\timul %0, %0\n\timul %0, %0\n\timul %0, %0"
                         : "+r"(x));
    return x;
}
