/* native_levels TURNS BATCH LIBRARY...: the least nanoseconds that each library takes for an image,
 * of TURNS turns that they take in a random order; with no turns, calls each once more and prints
 * nothing, for tools that count instructions. Reads images from stdin. See native_levels.py. */
#define _POSIX_C_SOURCE 200809L
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define IMAGES 512
#define PIXELS 1024

typedef int run_function(const float *, float *, size_t, void *);

static float images[IMAGES * PIXELS], logits[IMAGES * 10];

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Seconds for an image. */
static double each(run_function *run, size_t batch, size_t calls, void *work)
{
    const double start = seconds();
    for (size_t i = 0; i < calls; i++)
        run(images + PIXELS * (i * batch % (IMAGES - batch + 1)), logits, batch, work);
    return (seconds() - start) / (double)(calls * batch);
}

int main(int count, char **words)
{
    const int turns = atoi(words[1]), libraries = count - 3;
    const size_t batch = (size_t)atoi(words[2]), calls = IMAGES / batch;
    run_function *runs[32];
    double best[32];
    void *const work = malloc(4u << 20);
    if (fread(images, sizeof(float) * PIXELS, IMAGES, stdin) != IMAGES || libraries > 32)
        return 1;
    for (int i = 0; i < libraries; i++) {
        void *const library = dlopen(words[3 + i], RTLD_NOW);
        if (!library)
            return 2;
        *(void **)&runs[i] = dlsym(library, "lenet_run");
        best[i] = 1e9;
        each(runs[i], batch, turns ? calls : 4, work);
    }
    for (int turn = 0; turn < turns * libraries; turn++) {
        const int i = rand() % libraries;
        each(runs[i], batch, 1, work); /* its weights, back into the cache */
        const double time = each(runs[i], batch, calls, work);
        best[i] = time < best[i] ? time : best[i];
    }
    for (int i = 0; turns && i < libraries; i++)
        printf("%.1f\n", 1e9 * best[i]);
    return 0;
}
