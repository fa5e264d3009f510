/* Answers, as a CPU with AVX2 and without AVX-512 would, the CPUID instructions of a library in which
 * UD2 stands in their places. */
#define _GNU_SOURCE
#include <cpuid.h>
#include <dlfcn.h>
#include <signal.h>
#include <stdint.h>
#include <ucontext.h>

static const uint64_t *places; /* from the library's beginning */
static int count;
static volatile long answered;

static void mask(uint32_t leaf, uint32_t *a, uint32_t *b, uint32_t *c, uint32_t *d)
{
    uint32_t part = *c;
    __cpuid_count(leaf, part, *a, *b, *c, *d);
    if (leaf == 7 && part == 0) {
        *b &= ~(1u << 16 | 1u << 17 | 1u << 21 | 1u << 26 | 1u << 27 | 1u << 28 | 1u << 30 |
                1u << 31);                                            /* F DQ IFMA PF ER CD BW VL */
        *c &= ~(1u << 1 | 1u << 6 | 1u << 11 | 1u << 12 | 1u << 14);  /* VBMI VBMI2 VNNI ... */
        *d &= ~(1u << 2 | 1u << 3 | 1u << 8 | 1u << 22 | 1u << 23 | 1u << 24 | 1u << 25);
    } else if (leaf == 7 && part == 1) {
        *a &= ~(1u << 4 | 1u << 5 | 1u << 21 | 1u << 23); /* AVX-VNNI BF16 AMX-FP16 AVX-IFMA */
        *d &= ~(1u << 4 | 1u << 5 | 1u << 10 | 1u << 19); /* VNNI-INT8 CONVERT VNNI-INT16 AVX10 */
    }
}

static void answer(int number, siginfo_t *info, void *context)
{
    greg_t *const r = ((ucontext_t *)context)->uc_mcontext.gregs;
    Dl_info library;
    (void)info;
    if (dladdr((void *)r[REG_RIP], &library))
        for (int i = 0; i < count; i++)
            if ((uint64_t)r[REG_RIP] == (uint64_t)library.dli_fbase + places[i]) {
                uint32_t a = (uint32_t)r[REG_RAX], b, c = (uint32_t)r[REG_RCX], d;
                mask(a, &a, &b, &c, &d);
                r[REG_RAX] = a, r[REG_RBX] = b, r[REG_RCX] = c, r[REG_RDX] = d;
                r[REG_RIP] += 2;
                answered++;
                return;
            }
    signal(number, SIG_DFL); /* somebody else's: it comes again, and ends the process */
}

void hold(const uint64_t *new_places, int new_count)
{
    struct sigaction action = {.sa_sigaction = answer, .sa_flags = SA_SIGINFO | SA_NODEFER};
    places = new_places, count = new_count;
    sigaction(SIGILL, &action, 0);
}

long held(void) { return answered; }

/* Which of this thread's registers are not as a fresh thread has them: bits 5 to 7 are AVX-512's,
 * masks, upper halves of ZMM0 to ZMM15, and ZMM16 to ZMM31. */
uint64_t used(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(1));
    return (uint64_t)high << 32 | low;
}
