/* ---- all cores without vectors of bytes ----
 *
 * A unit of arithmetic is one number in a word or, where there is SMLAD, two numbers in a word. */
#if defined(__ARM_FEATURE_DSP) && defined(__GNUC__)
typedef int16_t lenet_number;
#define lenet_add __sadd16
#define lenet_sub __ssub16
#else
typedef int32_t lenet_number;
#define lenet_add(a, b) ((a) + (b))
#define lenet_sub(a, b) ((a) - (b))
#endif
#define LENET_UNIT (4 / (int)sizeof(lenet_number))

static inline int32_t lenet_load(const lenet_number *p)
{
    int32_t unit;
    memcpy(&unit, LENET_FOUR(p), sizeof unit);
    return unit;
}

static inline void lenet_store(lenet_number *p, int32_t unit)
{
    memcpy(LENET_FOUR(p), &unit, sizeof unit);
}

#include "pairs_constants.c"

/* The upper word of a product, b not negative. */
static inline int32_t lenet_upper(int32_t a, int32_t b)
{
#if defined(__thumb__) && !defined(__thumb2__) /* where a product has one word alone */
    const uint32_t low = (uint32_t)a & 0xffff, factor = (uint32_t)b & 0xffff;
    const int32_t high = a >> 16, other = b >> 16;
    const int32_t middle = high * (int32_t)factor + (int32_t)(low * factor >> 16);
    const int32_t rest = (int32_t)(low * (uint32_t)other) + (middle & 0xffff);
    return high * other + (middle >> 16) + (rest >> 16);
#else
    return (int32_t)((int64_t)a * b >> 32);
#endif
}

/* The code of a sum, which comes times 2^SHIFT: a product in fixed point, unless its fraction is so
 * close to a half that the roundings of float32 decide. The multiplier is the scale times
 * 2^(44 - SHIFT), so the upper word of the product has 12 bits of fraction. */
static inline uint8_t lenet_code(int32_t sum, int shift, const lenet_output *output)
{
    const int32_t code = lenet_upper(sum, output->multiplier) + (1 << 11) + 8;
    if ((code & 0xff0) == 0)
        return lenet_exact(sum >> shift, output->scale);
#if defined(__ARM_FEATURE_SAT)
    return (uint8_t)__usat(code >> 12, 8);
#else
    const int32_t whole = code >> 12;
    return (uint8_t)(whole < 0 ? 0 : whole > 255 ? 255 : whole);
#endif
}

/* A pair of inputs of a dense layer that are not both zero, and where its weights begin. After the
 * last one comes a pair of zeros. */
typedef struct {
    int32_t values;
    int32_t weights;
} lenet_entry;

/* Rows are four, the fifth takes the place of the first. */
typedef struct {
    lenet_number pixels[4][PIXEL_COLUMNS];
    uint32_t ink[4];                              /* bits of what four rows of pixels hold */
    lenet_number pooled[4][ROWS][CHANNELS_EVEN]; /* codes less black's */
    lenet_number window[4][4];
    lenet_number tile[16][CHANNELS_EVEN]; /* in Winograd's domain */
} lenet_rows;

typedef struct {
    union {
        lenet_rows rows;
        lenet_entry list[LONGEST / 2 + 1];
    } now;
    int32_t sums[WIDEST];
#include "arrays.c"
} lenet_memory;

#if defined(__thumb2__) && defined(__GNUC__)
#include "cortex/thumb2.c"
#elif defined(__thumb__) && defined(__GNUC__)
#include "cortex/thumb1.c"
#else
#include "cortex/plain.c"
#endif

/* Where a tile's features are: in pairs, which are a tile's and its right neighbour's. */
#define LENET_APART 2
#define LENET_FEATURES(x, y, t) ((x) + 2 * OUTPUTS * (TILES / 2 * (y) + (t) / 2) + ((t) & 1))

static void lenet_conv1_black(lenet_rows *rows, int y, int x)
{
    for (int k = 0; k < CHANNELS_EVEN; k += LENET_UNIT)
        lenet_store(rows->pooled[y & 3][x] + k, 0);
}

static void lenet_conv1(lenet_memory *work, int y, int x)
{
    lenet_number(*const window)[4] = work->now.rows.window;
    lenet_number *const pooled = work->now.rows.pooled[y & 3][x];
    for (int i = 0; i < 4; i++) {
        const lenet_number *const row = work->now.rows.pixels[(2 * y + i) & 3] + 2 * x;
        for (int j = 0; j < 4; j += LENET_UNIT)
            lenet_store(window[i] + j, lenet_load(row + j));
    }
    lenet_conv1_sums(window[0], lenet_conv1_filters[0][0], work->sums, work->sums + CHANNELS);
    pooled[CHANNELS_EVEN - 1] = 0;
    for (int k = 0; k < CHANNELS; k++) {
        const lenet_output *const output = lenet_conv1_output + k;
        const int code = lenet_code(work->sums[k] + output->bias, 0, output);
        pooled[k] = (lenet_number)(code - lenet_conv1_blacks[k]);
    }
}

/* F(2,3)'s transform of four inputs, in the order 1, 2, 0, 3. */
#define LENET_TRANSFORM(d0, d1, d2, d3, to, step) \
    lenet_store(to, lenet_add(d1, d2)); \
    lenet_store((to) + (step), lenet_sub(d2, d1)); \
    lenet_store((to) + 2 * (step), lenet_sub(d0, d2)); \
    lenet_store((to) + 3 * (step), lenet_sub(d3, d1));

/* All outputs of conv2 at a pixel of its pooled output: Winograd's F(2x2,3x3). */
static void lenet_conv2(lenet_memory *work, int y, int x, uint8_t *features)
{
    lenet_rows *const rows = &work->now.rows;
    lenet_number *const tile = rows->tile[0];
    const int step = CHANNELS_EVEN;
    for (int r = 0; r < 4; r++)
        for (int c = 0; c < CHANNELS_EVEN; c += LENET_UNIT) {
            const lenet_number *const d = rows->pooled[(y + r) & 3][x] + c;
            const int32_t d0 = lenet_load(d), d1 = lenet_load(d + step),
                          d2 = lenet_load(d + 2 * step), d3 = lenet_load(d + 3 * step);
            LENET_TRANSFORM(d0, d1, d2, d3, tile + 4 * step * r + c, step)
        }
    for (lenet_number *v = tile; v < tile + 4 * step; v += LENET_UNIT) {
        const int32_t d0 = lenet_load(v), d1 = lenet_load(v + 4 * step),
                      d2 = lenet_load(v + 8 * step), d3 = lenet_load(v + 12 * step);
        LENET_TRANSFORM(d0, d1, d2, d3, v, 4 * step)
    }
    lenet_conv2_sums(tile, lenet_conv2_filters, work->sums, work->sums + OUTPUTS);
    for (int k = 0; k < OUTPUTS; k++) {
        const lenet_output *const output = lenet_conv2_output + k;
        const int32_t sum = (work->sums[k] + output->bias) * (1 << CONV2_LEFT);
        features[2 * k] = lenet_code(sum, CONV2_SHIFT, output);
    }
}

/* Sums of a dense layer without biases. Weights are [block of eight outputs][pair of inputs], and
 * there [two outputs][input of the pair]: an int16 that is the one's weight and 256 times the
 * other's. So a sum of products of these is S + 256 T, and S is that of their lower bytes. */
static void lenet_dense(lenet_memory *work, const uint8_t *x, int inputs, const int16_t *weights,
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
