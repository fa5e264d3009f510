/* Classifies a handwritten digit with generated C:
 *
 *     lenet-deploy export -f native --source-only -o .
 *     cc -O2 -Inative-source -o example example.c native-source/lenet.c
 *     ./example digit.pgm
 *
 * The picture is a binary PGM of 28x28 pixels in white ink on black, as MNIST has it.
 */
#include "lenet.h"

#include <stdio.h>
#include <stdlib.h>

enum { SIDE = 28, PADDED = 32, BORDER = (PADDED - SIDE) / 2 };

static float normalised(int pixel)
{
    return ((float)pixel / 255 - LENET_MEAN) / LENET_STD;
}

/* 32x32 floats of a picture, with a black border; 1 where it is one, else 0. */
static int read_picture(FILE *file, float *image)
{
    unsigned char pixels[SIDE * SIDE];
    int width, height, largest;
    if (fscanf(file, "P5 %d %d %d", &width, &height, &largest) != 3 || width != SIDE ||
        height != SIDE || largest != 255 || fgetc(file) == EOF ||
        fread(pixels, 1, sizeof pixels, file) != sizeof pixels)
        return 0;
    for (int i = 0; i < LENET_PIXELS; i++)
        image[i] = normalised(0);
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++)
            image[(y + BORDER) * PADDED + x + BORDER] = normalised(pixels[SIDE * y + x]);
    return 1;
}

int main(int count, char **words)
{
    static float image[LENET_PIXELS];
    float logits[LENET_LOGITS];
    FILE *const file = count == 2 ? fopen(words[1], "rb") : NULL;
    if (file == NULL || !read_picture(file, image)) {
        fprintf(stderr, "expected a binary PGM of 28x28 pixels: example digit.pgm\n");
        return 2;
    }
    fclose(file);

    void *const workspace = malloc(lenet_workspace_size());
    if (lenet_run(image, logits, 1, workspace) != LENET_OK) /* malloc's NULL is an error, too */
        return 1;
    free(workspace);

    int best = 0;
    for (int i = 1; i < LENET_LOGITS; i++)
        if (logits[i] > logits[best])
            best = i;
    printf("%d\n", best);
    for (int i = 0; i < LENET_LOGITS; i++)
        printf("%d %.9g\n", i, (double)logits[i]); /* nine digits tell every float apart */
    return 0;
}
