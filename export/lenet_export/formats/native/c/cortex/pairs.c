/* ---- pairs of int16, or single ones: all cores without vectors ---- */
#include "pairs_constants.c"

/* A pair of inputs of a dense layer that are not both zero, and where its weights begin. After the
 * last one comes a pair of zeros. */
typedef struct {
    int32_t values;
    int32_t weights;
} lenet_entry;

/* Rows are four, the fifth takes the place of the first. */
typedef struct {
    int16_t pixels[4][PIXEL_COLUMNS];
    int16_t pooled[4][ROWS][CHANNELS_EVEN]; /* codes less black's */
    int16_t window[4][4];
    int16_t tile[4][CHANNELS_EVEN / 2][4][2]; /* [position][pair of channels][row][channel] */
} lenet_rows;

typedef struct {
    union {
        lenet_rows rows;
        lenet_entry list[LONGEST / 2 + 1];
    } now;
    int32_t sums[WIDEST];
#include "arrays.c"
} lenet_memory;

#if defined(__ARM_FEATURE_DSP) && defined(__GNUC__)
#include "cortex/dsp.c"
#else
#include "cortex/plain.c"
#endif

/* Where a tile's features are: in pairs, which are a tile's and its right neighbour's. */
#define LENET_APART 2
#define LENET_FEATURES(x, y, t) ((x) + 2 * OUTPUTS * (TILES / 2 * (y) + (t) / 2) + ((t) & 1))

static void lenet_conv1_black(lenet_rows *rows, int y, int x)
{
    for (int k = 0; k < CHANNELS_EVEN; k += 2)
        lenet_store(rows->pooled[y & 3][x] + k, 0);
}

static void lenet_conv1(lenet_memory *work, int y, int x)
{
    int16_t *const pooled = work->now.rows.pooled[y & 3][x];
    lenet_conv1_sums(work->now.rows.window[0], lenet_conv1_filters[0][0], work->sums,
                     work->sums + CHANNELS);
    pooled[CHANNELS_EVEN - 1] = 0;
    for (int k = 0; k < CHANNELS; k++) {
        const lenet_output *const output = lenet_conv1_output + k;
        pooled[k] = (int16_t)(lenet_code(work->sums[k] + output->bias, 0, output) -
                              lenet_conv1_blacks[k]);
    }
}

/* Winograd's domain: F(2,3) along rows. */
static void lenet_conv2(lenet_memory *work, int y, int x, uint8_t *features)
{
    lenet_rows *const rows = &work->now.rows;
    for (int r = 0; r < 4; r++) {
        const int16_t *d = rows->pooled[(y + r) & 3][x];
        int16_t *v = rows->tile[0][0][r];
        for (int c = 0; c < CHANNELS_EVEN; c += 2, d += 2, v += 8) {
            const int32_t d0 = lenet_load(d), d1 = lenet_load(d + CHANNELS_EVEN),
                          d2 = lenet_load(d + 2 * CHANNELS_EVEN),
                          d3 = lenet_load(d + 3 * CHANNELS_EVEN);
            lenet_store(v, lenet_add(d1, d2));
            lenet_store(v + 4 * CHANNELS_EVEN, lenet_sub(d2, d1));
            lenet_store(v + 8 * CHANNELS_EVEN, lenet_sub(d0, d2));
            lenet_store(v + 12 * CHANNELS_EVEN, lenet_sub(d3, d1));
        }
    }
    lenet_conv2_sums(rows->tile[0][0][0], lenet_conv2_filters, work->sums, work->sums + OUTPUTS);
    for (int k = 0; k < OUTPUTS; k++) {
        const lenet_output *const output = lenet_conv2_output + k;
        const int32_t sum = (work->sums[k] + output->bias) * (1 << CONV2_LEFT);
        features[2 * k] = lenet_code(sum, CONV2_SHIFT, output);
    }
}

/* Sums of a dense layer without biases. Weights are [block of eight outputs][pair of inputs], and
 * there [two outputs][input of the pair]: an int16 that is the one's weight and 256 times the
 * other's. So a sum of products of these is S + 256 T, and S is that of their lower bytes. */
static void lenet_dense(lenet_memory *work, const uint8_t *x, int inputs, const lenet_weights *weights,
                        int outputs)
{
    lenet_entry *entry = work->now.list;
    const int pairs = (inputs + 1) / 2;
    for (int i = 0; i < pairs; i++) {
        const int32_t values = x[2 * i] | x[2 * i + 1] << 16;
        if (values) {
            entry->values = values;
            entry++->weights = 16 * i;
        }
    }
    entry->values = 0;
    for (int32_t *sums = work->sums; outputs > 0; outputs -= 8, sums += 8, weights += 8 * pairs) {
        int32_t both[8];
        lenet_dense_sums(work->now.list, weights, both);
        for (int i = 0; i < 4; i++) {
            sums[2 * i] = both[i];
            sums[2 * i + 1] = (int32_t)((uint32_t)both[4 + i] - (uint32_t)both[i]) >> 8;
        }
    }
}

/* The codes of a dense layer's sums, and zeros up to the next layer's inputs. */
static void lenet_codes(const int32_t *sums, const lenet_output *output, int shift, uint8_t *codes,
                        int count, int inputs)
{
    for (int i = 0; i < count; i++, output++)
        codes[i] = lenet_code((sums[i] + output->bias) * (1 << shift), shift, output);
    for (; count < inputs; count++)
        codes[count] = 0;
}
