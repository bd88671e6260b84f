/* mnv2_engine's C core: runs a planned network, one call a prediction.
 *
 * No hidden threads, no hidden allocation, no I/O, no global state: the caller owns the plan,
 * the weights, the arena, the image, the outputs and the pool of threads, and may call from many
 * threads at once with an arena each. Every offset is in bytes.
 *
 * A program takes four steps; examples/c has all of them in C, ready to be taken over:
 *
 *   1. It maps a model file (docs/model-file.md), whose arrays are what the kernels read.
 *   2. It describes the network and places all arrays of a run in one arena: a mnv2_plan. That
 *      depends on nothing but the network, the precision and the number of threads.
 *   3. It takes the first instruction set of mnv2_isa_at that is supported by the CPU and has
 *      kernels of its own for the precision.
 *   4. It calls mnv2_run for each image, with the same plan and, a call at a time, the same arena.
 *
 * A plan is believed: mnv2_run checks what would index its own tables, no offset and no size. So
 * whatever comes from a file has to be checked before it becomes one. */
#ifndef MNV2_H
#define MNV2_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MNV2_MAX_BLOCKS 64
#define MNV2_MAX_KERNEL 5
#define MNV2_MAX_THREADS 64
#define MNV2_OVERREAD 128

/* How a network is computed, and what the weights of its layers are; biases and the weights of
 * depthwise layers are float32. */
typedef enum {
    MNV2_FLOAT32,
    MNV2_FLOAT16_WEIGHTS,  /* made float32 as they are loaded; everything else as MNV2_FLOAT32 */
    MNV2_BFLOAT16_WEIGHTS, /* the same of bfloat16; [n][16] of 1x1 convolutions is [n/2][16][2] */
    MNV2_BFLOAT16,         /* those weights, and thin and filtered values of bfloat16: 2 bytes */
    MNV2_INT8,             /* weights and activations of 8 bits: docs/int8.md */
    MNV2_PRECISIONS        /* how many there are */
} mnv2_precision;

/* The 3x3 stride-2 convolution at the image, and how pixels become numbers. */
typedef struct {
    int32_t in_height, in_width; /* image: [in_height][in_width][3], uint8 or float32 */
    int32_t out_height, out_width, channels;
    int32_t pad_top, pad_left;
    float scale[3], shift[3]; /* x = pixel * scale + shift, of uint8 images only */
    float mean[3], std[3];    /* int8: pixel = x * std + mean, of float32 images only */
    uint8_t pad[3];           /* int8: the pixel around the image */
    int32_t fraction;         /* int8: of the output */
    /* In the weights: [channels/16][27][16], [channels/16][16]; int8: [channels/16][9][16][4] and
     * in place of every bias [channels/16][2][16] int32, that and multiplier | shift << 16. */
    int64_t weight, bias;
} mnv2_stem;

/* One inverted residual with a linear bottleneck. */
typedef struct {
    int32_t in_height, in_width, in_channels; /* thin input: [in_height][in_width][in_channels] */
    int32_t hidden;                           /* channels of the expanded tensor */
    int32_t out_height, out_width, out_channels;
    int32_t kernel, stride, pad_top, pad_left; /* of the depthwise layer */
    int32_t residual; /* add the thin input to the thin output; int8: what multiplies it, or 0 */
    int32_t expand_fraction, depthwise_fraction, project_fraction; /* int8: of the outputs */
    /* In the weights; int8 has [..][in / 4][16][4] but for the depthwise layer. */
    int64_t expand_weight, expand_bias;       /* [hidden/16][in_channels][16]; -1 where t = 1 */
    int64_t depthwise_weight, depthwise_bias; /* [hidden/16][kernel * kernel][16] */
    int64_t project_weight, project_bias;     /* [out_channels/16][hidden][16] */
    /* Rows, in the arena: partial sums of the output rows in progress,
     * [(kernel - 1) / stride][hidden/16][out_width][16]. */
    int64_t partial;
    /* Rows, int8: the last expanded rows, padding included,
     * [kernel - stride][hidden/16][(out_width - 1) * stride + kernel][16]. */
    int64_t ring;
    /* Rows, where thin input rows do not lie in a tensor: the last `thin_rows` of them, each
     * [in_width][in_channels]; for t = 1 behind the stem, each [hidden/16][in_width][16]. */
    int64_t thin;
    int32_t thin_rows;
} mnv2_block;

typedef enum {
    MNV2_ROWS,       /* blocks [first, first + count) stream row by row into each other */
    MNV2_TILES,      /* one block, its hidden channels in tiles */
    MNV2_HEAD,       /* last 1x1 convolution and global average pool */
    MNV2_CLASSIFIER, /* matrix times pooled features */
    MNV2_LAYERS      /* one block, layer by layer: what the others are measured against */
} mnv2_kind;

/* Which of a block's layers a step of MNV2_LAYERS runs: all of them, or one to be timed alone. */
enum { MNV2_EXPAND = 1, MNV2_DEPTHWISE = 2, MNV2_PROJECT = 4 };

/* One step of the schedule: reads the tensor at `input`, leaves one at `output`. Its scratch, in
 * the arena, is shared by its blocks:
 *
 *   rows    expanded  [2][(strip - 1) * stride + kernel][16]   two panels of a strip of a row
 *           halo      [hidden/16][kernel - stride][16]         columns that the next strip needs
 *           filtered  [hidden/16][strip][16]; behind the hidden/16 panels of block 0, if it is one
 *                     of them, [3][columns][3] normalised pixels under the stem's strip
 *   tiles   expanded  [2][lines][columns][16]                  two panels, with zero padding
 *           filtered  [threads * tile/16][out_height * out_width][16], twice if threads > 1
 *           sums      [out_height * out_width][out_channels] in float32, where thin values are
 *                     smaller and there are several tiles
 *   layers  expanded  [tile/16][lines][columns][16]            with zero padding
 *           filtered  [tile/16][out_height * out_width][16]
 *           sums      as tiles
 *           pixels    [3][columns][3]                          of block 0, as behind `filtered`
 *
 * In int8 the expanded strip is [2][stride][columns][16], the halo [hidden/16][stride][kernel -
 * stride][16], block 0's pixels are bytes, [3][row], a row of three groups of four beyond six bytes
 * a column; and
 *
 *   tiles       sums      [out_channels/16][out_height * out_width][16] int32; of layers, too
 *   classifier  filtered  [features/16][16], the features as 8 bits; the input is int32 sums
 *
 * Part t of the plan's `threads` parts has scratch of its own, t * thread_bytes further on, partial
 * sums, rings and thin rows included; only `filtered` and `sums` of tiles, and all but `pixels` of
 * layers, are common to all parts. */
typedef struct {
    int32_t kind;
    int32_t first, count; /* blocks; a step of rows that begins at block 0 begins at the image */
    int64_t input, output;
    int64_t expanded, filtered, halo, sums;
    int64_t thread_bytes;   /* from one part's scratch to the next one's */
    int32_t strip;          /* rows: output pixels of a strip, at most */
    int32_t tile; /* tiles: hidden channels of a tile that are one part's; layers: of a split */
    int32_t lines, columns; /* tiles, layers: size of the expanded tile, padding included */
    int32_t layers;         /* layers: those that run, MNV2_EXPAND | ... */
    int64_t pixels;         /* layers: see above */
} mnv2_step;

typedef struct {
    int32_t height, width, channels; /* thin input: [height][width][channels] */
    int32_t features;                /* of the last 1x1 convolution */
    int32_t classes;
    int64_t head_weight, head_bias;             /* [features/16][channels][16] */
    int64_t classifier_weight, classifier_bias; /* [classes/16][features][16] */
    /* int8: classifier_weight is [classes/16][features/4][16][4], and classifier_bias
     * [classes/16][2][16] float32, scale and bias. */
    int32_t fraction; /* of the last 1x1 convolution */
    int32_t pool_fraction, pool_bias, pool_multiplier, pool_shift;
    float feature_scale; /* features = sums * feature_scale */
} mnv2_head;

typedef struct {
    mnv2_stem stem;
    mnv2_head head;
    const mnv2_block *blocks;
    const mnv2_step *steps;
    int32_t block_count, step_count;
    int32_t precision; /* mnv2_precision */
    int32_t threads; /* parts that every step is cut into; the answer is the same for any number */
    int64_t arena_bytes, weight_bytes;
} mnv2_plan;

typedef struct mnv2_isa mnv2_isa; /* an instruction set that kernels were built for */

/* The instruction sets that were built, best first; NULL past the last. The one to take is the
 * first that is supported and, for the precision of the plan, its own. */
const mnv2_isa *mnv2_isa_at(int32_t index);
const char *mnv2_isa_name(const mnv2_isa *isa);
/* Whether this CPU has it and this operating system saves its registers. */
int32_t mnv2_isa_supported(const mnv2_isa *isa);
/* Whether the CPU has it and the system refuses this process its registers: AMX's, which a process
 * has to ask for. To ask whether it is supported is to ask for them, for all threads and for what
 * is forked later; so ask only of a set that has kernels of its own for the precision. */
int32_t mnv2_isa_refused(const mnv2_isa *isa);
/* Whether it computes more slowly in a precision than in MNV2_FLOAT32, on this make of CPU. */
int32_t mnv2_isa_slow(const mnv2_isa *isa, int32_t precision);
/* Whether it has kernels for a precision (mnv2_precision). */
int32_t mnv2_isa_computes(const mnv2_isa *isa, int32_t precision);
/* Whether they are its own, not those of a lesser set. */
int32_t mnv2_isa_own(const mnv2_isa *isa, int32_t precision);

enum { MNV2_OK = 0, MNV2_BAD_PLAN = 1, MNV2_NO_THREADS = 2 };

/* Threads that wait to take part in runs. They sleep while there is none; after a run, or for
 * another thread within one, they look for work for a tenth of a millisecond before they do. A run
 * does not wait for those that come late, so its plan has to stay until the pool is stopped. A
 * forked child has none of them: it must forget the pool, not stop it, and start its own. */
typedef struct mnv2_pool mnv2_pool;

/* Bytes of memory, 64-byte aligned, that a pool needs. */
int64_t mnv2_pool_bytes(int32_t threads);
/* Starts threads - 1 threads; the caller of mnv2_run is one more. The memory becomes the pool, a
 * pointer to it is the mnv2_pool *, until it is stopped. MNV2_OK; or MNV2_NO_THREADS: the system
 * gave none, and none is left. */
int32_t mnv2_pool_start(void *memory, int32_t threads);
/* Ends its threads; no run may be in it. */
void mnv2_pool_stop(mnv2_pool *pool);

/* Runs one image, its channels red, green and blue, through the network.
 *
 *   pool      of as many threads as the plan has; or NULL, or one that another call is using: then
 *             this thread computes all parts itself
 *   weights   plan->weight_bytes bytes, read only, 4-byte aligned (64 is faster)
 *   arena     plan->arena_bytes bytes, 64-byte aligned; its content before does not matter. In int8
 *             kernels read, and ignore, up to MNV2_OVERREAD bytes behind what they work on, which
 *             the plan has to leave at the arena's end; with several threads behind every array,
 *             for what lies there may be written meanwhile.
 *   image     [in_height][in_width][3], uint8, or float32 that is already normalised
 *   features  head.features floats, or NULL
 *   logits    head.classes floats, or NULL
 *
 * MNV2_OK; or MNV2_BAD_PLAN: the instruction set does not compute in the plan's precision, or a
 * count of blocks or threads or the kind of a step is out of range; then nothing was written.
 * Denormals are flushed to zero inside; the caller's floating-point state is restored. */
int32_t mnv2_run(const mnv2_isa *isa, const mnv2_plan *plan, mnv2_pool *pool, const void *weights,
                 void *arena, const void *image, int32_t image_is_float, float *features,
                 float *logits);

/* Index of the first value that is infinite or not a number, or -1. */
int64_t mnv2_first_not_finite(const float *x, int64_t count);

/* The `k` largest logits, k from 1 to `classes`, ties to the lower index: their indices and softmax
 * probabilities, largest first, k of each. */
void mnv2_top_k(const float *logits, int32_t classes, int32_t k, int32_t *indices,
                double *probabilities);

#ifdef __cplusplus
}
#endif
#endif
