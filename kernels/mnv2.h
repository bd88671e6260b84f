/* mnv2_engine's C core: runs a planned network, one call a prediction.
 *
 * No hidden threads, no hidden allocation, no I/O, no global state: the caller owns the plan,
 * the weights, the arena, the image, the outputs and the pool of threads, and may call from many
 * threads at once with an arena each. Every offset is in bytes.
 *
 * A program takes four steps; examples/c has all of them in C, ready to be taken over:
 *
 *   1. It maps a model file (docs/model-file.md), whose arrays are what the kernels read.
 *   2. It describes the network, and mnv2_make_plan places all arrays of a run in one arena: a
 *      mnv2_plan. That depends on nothing but the network, the precision, the number of threads and
 *      the family of CPUs.
 *   3. It takes the first instruction set of mnv2_isa_at that is supported by the CPU and has
 *      kernels of its own for the precision.
 *   4. It calls mnv2_run for each image, with the same plan and, a call at a time, the same arena.
 *
 * A plan is believed: mnv2_run checks what would index its own tables, no offset and no size.
 * mnv2_check_plan checks those, once a plan. */
#ifndef MNV2_H
#define MNV2_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MNV2_MAX_BLOCKS 64
#define MNV2_MAX_KERNEL 7
#define MNV2_MAX_CONVS 4
#define MNV2_MAX_DENSE 4
#define MNV2_MAX_TAPS 64
#define MNV2_MAX_MAPS 16
#define MNV2_MAX_THREADS 64
/* One a block, a convolution, a dense layer, and the head; or one a block, a detector's head and a
 * map. */
#define MNV2_MAX_STEPS 80
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

/* What a layer does to its sums: in floats min(max(x, floor), top), where what is not a number
 * becomes the floor. In 8 bits saturation to 0 .. 255 does it, and a plan need not say it. */
typedef enum {
    MNV2_LINEAR, /* nothing; where a hidden value is not a number it becomes minus infinity */
    MNV2_RELU,   /* floor 0 */
    MNV2_RELU6   /* floor 0, top 6 */
} mnv2_activation;

/* The 3x3 stride-2 convolution at the image, and how pixels become numbers. */
typedef struct {
    int32_t in_height, in_width; /* image: [in_height][in_width][3], uint8 or float32 */
    int32_t out_height, out_width, channels;
    int32_t pad_top, pad_left;
    float scale[3], shift[3]; /* x = pixel * scale + shift, of uint8 images only */
    float mean[3], std[3];    /* int8: pixel = x * std + mean, of float32 images only */
    uint8_t pad[3];           /* int8: the pixel around the image */
    int32_t activation;       /* mnv2_activation */
    int32_t fraction;         /* int8: of the output */
    /* In the weights: [channels/16][27][16], [channels/16][16]; int8: [channels/16][9][16][4] and
     * in place of every bias [channels/16][2][16] int32, that and multiplier | shift << 16. */
    int64_t weight, bias;
} mnv2_stem;

/* One inverted residual: expand, depthwise, project. Any block may have no
 * expand layer (t = 1): then `hidden` is in_channels; of block 0 the stem makes them. Without a
 * depthwise layer, kernel 1, the expanded tensor itself is projected.
 *
 * A detector's heads are blocks without an expand layer, too, the last `predictor_count` of the
 * table. Their input is the thin tensor before them, which stays; or the expanded tensor of the
 * block in whose step they run. What they give lies at `output` until a step of MNV2_BOXES. */
typedef struct {
    int32_t in_height, in_width, in_channels; /* thin input: [in_height][in_width][in_channels] */
    int32_t hidden;                           /* channels of the expanded tensor */
    int32_t out_height, out_width, out_channels;
    int32_t kernel, stride, pad_top, pad_left; /* of the depthwise layer */
    int32_t residual; /* add the thin input to the thin output; int8: what multiplies it, or 0 */
    /* mnv2_activation; a residual and an activation of the project layer exclude each other. */
    int32_t expand_activation, depthwise_activation, project_activation;
    int32_t pad; /* int8: the value around the depthwise layer's input, its zero point */
    int32_t expand_fraction, depthwise_fraction, project_fraction; /* int8: of the outputs */
    /* In the weights; int8 has [..][in / 4][16][4] but for the depthwise layer. */
    int64_t expand_weight, expand_bias;       /* [hidden/16][in_channels][16]; -1: no such layer */
    int64_t depthwise_weight, depthwise_bias; /* [hidden/16][kernel * kernel][16]; -1: kernel 1 */
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
    /* The heads that read its expanded tensor, in its step of tiles; 0 of others. And, for a planner,
     * those that read its thin output, in steps behind its own. */
    int32_t within, within_count, behind, behind_count;
    /* Tiles, in floats: the tap that its expanded tensor goes to, less 1; 0: it goes nowhere. Such
     * taps are the last of their table, in the order of the blocks, and have no steps. */
    int32_t expanded_tap;
    /* Of a head, in the arena: what it gives, [out_height][out_width][out_channels]; and, where it
     * runs within another block's step, arrays as that step's own. */
    int64_t output, filtered, sums;
    int64_t values; /* int8, of a head, in the weights: as of mnv2_tap */
} mnv2_block;

/* A detector's outputs at one feature map: two heads, which are blocks. Rows of anchors, 4 codes and
 * `columns` scores each, are what their channels are, pixel by pixel. */
typedef struct {
    int32_t boxes, scores; /* in the table of blocks */
    int32_t anchors;       /* of a pixel */
} mnv2_map;

/* A convolution from a thin map to a thin map, without padding. A row of its kernel is one segment
 * of kernel * in_channels neighbouring values, which int8 and bfloat16 fill up with zero weights to
 * whole groups of 4 and of 2. */
typedef struct {
    int32_t in_height, in_width, in_channels;    /* [in_height][in_width][in_channels] */
    int32_t out_height, out_width, out_channels; /* [out_height][out_width][out_channels] */
    int32_t kernel, stride;                      /* 1 to MNV2_MAX_KERNEL; 1 or more */
    int32_t activation;                          /* mnv2_activation */
    int32_t fraction;                            /* int8: of the output */
    /* [out_channels/16][kernel][kernel * in_channels][16], [out_channels/16][16]; int8:
     * [out_channels/16][kernel][kernel * in_channels / 4][16][4] and as every bias. */
    int64_t weight, bias;
} mnv2_conv;

/* The thin tensor between two steps, [height][width][channels], as floats for the caller. */
typedef struct {
    int32_t height, width, channels;
    int64_t values; /* int8, in the weights: float32 [2][channels], y = q * scale + offset */
} mnv2_tap;

typedef enum {
    MNV2_ROWS,   /* blocks [first, first + count) stream row by row into each other */
    MNV2_TILES,  /* one block, its hidden channels in tiles */
    MNV2_HEAD,   /* last 1x1 convolution and global average pool */
    MNV2_DENSE,  /* dense layer `first`: matrix times vector; not run for a caller without logits */
    MNV2_LAYERS, /* one block, layer by layer: what the others are measured against */
    MNV2_CONV,   /* convolution `first` */
    MNV2_TAP,    /* tap `first`: copies the tensor at `input` and leaves it there: `output` */
    MNV2_BOXES   /* map `first`: hands over what its heads gave; `input` stays: `output` */
} mnv2_kind;

/* Which of a block's layers a step of MNV2_LAYERS runs: all of them, or one to be timed alone. */
enum { MNV2_EXPAND = 1, MNV2_DEPTHWISE = 2, MNV2_PROJECT = 4 };

/* One step of the schedule: reads the tensor at `input`, leaves one at `output`. Its scratch, in
 * the arena, every array of it at a multiple of 64, is shared by its blocks:
 *
 *   rows    expanded  [2][(strip - 1) * stride + kernel][16]   two panels of a strip of a row
 *           halo      [hidden/16][kernel - stride][16]         columns that the next strip needs
 *           filtered  [hidden/16][strip][16]; behind the hidden/16 panels of block 0, if it is one
 *                     of them, [3][columns][3] normalised pixels under the stem's strip
 *   tiles   expanded  [2][lines][columns][16]                  two panels, with zero padding
 *           filtered  [threads * tile/16][out_height * out_width][16], twice if threads > 1
 *           sums      [out_height * out_width][out_channels] in float32, where thin values are
 *                     smaller and there are several tiles
 *                     int8 may cut out_height into `bands`: then of the largest band, and `lines`
 *                     as many as lie under one. Where parts make bands apart, as many as there are
 *                     parts, each has these arrays for itself, of the largest band, too, and
 *                     filtered [tile/16][pixels][16] once
 *   layers  expanded  [tile/16][lines][columns][16]            with zero padding
 *           filtered  [tile/16][out_height * out_width][16]
 *           sums      as tiles
 *           pixels    [3][columns][3]                          of block 0, as behind `filtered`
 *
 * In int8 the expanded strip is [2][stride][columns][16], the halo [hidden/16][stride][kernel -
 * stride][16], block 0's pixels are bytes, [3][row], a row of three groups of four beyond six bytes
 * a column; and
 *
 *   tiles   sums      [out_channels/16][out_height * out_width][16] int32; of layers, too
 *   dense   filtered  [inputs/16][16], of layer 0: the features as 8 bits; the input is int32 sums
 *
 * Part t of the plan's `threads` parts has scratch of its own, t * thread_bytes further on, partial
 * sums, rings and thin rows included; only `filtered` and `sums` of tiles that are not made apart,
 * and all but `pixels` of layers, are common to all parts. */
typedef struct {
    int32_t kind;
    int32_t first, count; /* blocks; a step of rows that begins at block 0 begins at the image;
                           * of other kinds, `first` is where its layer stands in its table */
    int64_t input, output;
    int64_t expanded, filtered, halo, sums;
    int64_t thread_bytes;   /* from one part's scratch to the next one's */
    int32_t strip;          /* rows: output pixels of a strip, at most */
    int32_t tile; /* tiles: hidden channels of a tile that are one part's; layers: of a split */
    int32_t apart; /* tiles: whether each part makes a band of output rows alone */
    int32_t lines, columns; /* tiles, layers: size of the expanded tile, padding included */
    int32_t bands; /* tiles: of output rows, run through one by one, in int8, or apart; 0 is 1 */
    int32_t layers;         /* layers: those that run, MNV2_EXPAND | ... */
    int64_t pixels;         /* layers: see above */
} mnv2_step;

/* The last 1x1 convolution and the global average pool; or the pool alone. */
typedef struct {
    int32_t height, width, channels; /* thin input: [height][width][channels] */
    int32_t features;                /* of the last 1x1 convolution; without it: channels */
    int32_t activation;              /* mnv2_activation */
    int64_t head_weight, head_bias;  /* [features/16][channels][16]; -1: no such layer */
    int32_t fraction;                /* int8: of the last 1x1 convolution */
    /* int8: how the sums over all pixels become 8 bits for dense layer 0. */
    int32_t pool_fraction, pool_bias, pool_multiplier, pool_shift;
    float feature_scale, feature_offset; /* int8: features = sums * scale + offset */
} mnv2_head;

/* A dense layer behind the pool. Layer 0 has the plan's precision; those behind it have float32
 * weights, whatever that is. The last one writes the caller's logits, the others
 * [outputs/16][16] floats at the step's `output`. */
typedef struct {
    int32_t inputs, outputs;
    int32_t activation; /* mnv2_activation */
    /* Of layer 0 of MNV2_FLOAT32: MNV2_FLOAT16_WEIGHTS, MNV2_BFLOAT16_WEIGHTS or MNV2_INT8 where its
     * weights alone are stored so, and computed in float32; else 0. */
    int32_t stored;
    /* [outputs/16][inputs][16], [outputs/16][16]; layer 0 of int8: [outputs/16][inputs/4][16][4]
     * and [outputs/16][2][16] float32, scale and bias; stored as MNV2_INT8: [outputs/16][inputs][16]
     * and those. */
    int64_t weight, bias;
} mnv2_dense;

typedef struct {
    mnv2_stem stem;
    mnv2_head head;
    const mnv2_block *blocks;
    const mnv2_conv *convs; /* tables that steps point into; NULL where the count is 0 */
    const mnv2_dense *dense;
    const mnv2_tap *taps;
    const mnv2_map *maps;
    const mnv2_step *steps;
    int32_t block_count, conv_count, dense_count, tap_count, step_count;
    int32_t predictor_count, map_count; /* of a detector: blocks that are heads, and maps */
    int32_t columns;                    /* scores of an anchor */
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

/* The family of this CPU, by what it has, as the planner's costs know it: "amx", or "any". */
const char *mnv2_cpu_family(void);

enum { MNV2_OK = 0, MNV2_BAD_PLAN = 1, MNV2_NO_THREADS = 2 };

/* Plans a network: `plan` has everything but its steps, the blocks' scratch, the places of a
 * detector's outputs and `arena_bytes`, and no taps; this fills them in. `blocks` are plan->blocks,
 * `steps` has room for MNV2_MAX_STEPS. The arena is the least that any sequence of schedules needs,
 * plus at most a seventh or 7 KiB, which are spent on longer strips and larger tiles: speed, on the
 * family of CPUs `cpu`. The plan runs on every other one, too, and whatever is chosen, the answer is
 * the same to the bit. MNV2_OK; or MNV2_BAD_PLAN for counts beyond the limits above, and unless every
 * head is read by one block, in the order of the blocks, those within one first, and belongs to one
 * map. Takes 30 KB of stack. */
int32_t mnv2_make_plan(mnv2_plan *plan, mnv2_block *blocks, mnv2_step *steps, const char *cpu);

/* Whether mnv2_run may believe a plan: the kernels compute all that it asks for, every size follows
 * from those before it, all that a step touches lies within weight_bytes and arena_bytes, and no
 * two arrays of a step overlap. In place, which is rows in one part whose output begins at their
 * input, no output row may reach an input row that is still needed. Every block, convolution, dense
 * layer and tap must have its step, once and in the order of its table; a plan may do without a
 * head, and then leaves `features` alone.
 * MNV2_OK; or MNV2_BAD_PLAN, and `why`, unless NULL, is a sentence that stays. */
int32_t mnv2_check_plan(const mnv2_isa *isa, const mnv2_plan *plan, const char **why);

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
 *   logits    outputs of the last dense layer, floats, or NULL
 *   taps      tap_count pointers, each to [height][width][channels] floats or NULL; or NULL: none
 *
 * MNV2_OK; or MNV2_BAD_PLAN: the instruction set does not compute in the plan's precision, or a
 * count, or the kind or `first` of a step is out of range; then nothing was written.
 * Denormals are flushed to zero inside; the caller's floating-point state is restored. */
int32_t mnv2_run(const mnv2_isa *isa, const mnv2_plan *plan, mnv2_pool *pool, const void *weights,
                 void *arena, const void *image, int32_t image_is_float, float *features,
                 float *logits, float *const *taps);

/* The same of `count` images, 1 or more: each step runs over all of them before the next one, so
 * that its weights come from a far cache or from memory once. The answers are mnv2_run's, to the bit.
 *
 *   arenas    count arenas, one behind the other: count * plan->arena_bytes bytes, which have to be
 *             a multiple of 64 where there are several
 *   images, features, logits   count of each, one behind the other; `features` and `logits` or NULL */
int32_t mnv2_run_batch(const mnv2_isa *isa, const mnv2_plan *plan, mnv2_pool *pool,
                       const void *weights, void *arenas, int32_t count, const void *images,
                       int32_t images_are_float, float *features, float *logits);

/* The same of a detector: what its layers give, anchor by anchor, before any decoding.
 *
 *   boxes     [anchors][4] floats, codes of y, x, height and width, or NULL
 *   scores    [anchors][columns] floats, before sigmoid or softmax, or NULL */
int32_t mnv2_run_detector(const mnv2_isa *isa, const mnv2_plan *plan, mnv2_pool *pool,
                          const void *weights, void *arena, const void *image,
                          int32_t image_is_float, float *boxes, float *scores,
                          float *const *taps);

/* How a detector's codes and scores become objects. */
typedef struct {
    int32_t anchors, columns; /* rows of anchors; scores of each, the background's included */
    int32_t has_background;   /* whether the first score is its, and no object's */
    int32_t is_softmax;       /* over the scores of an anchor; else each has a sigmoid */
    float coding[4];          /* what codes of y, x, height and width are divided by */
    float score_threshold;    /* scores above it are candidates */
    float iou_threshold;      /* a box that overlaps a better one of its class by more is dropped */
    int32_t max_per_class, max_objects;
} mnv2_detection;

typedef struct {
    float score;
    int32_t anchor; /* whose box it is */
    int32_t index;  /* of its class, without the background */
    float box[4];   /* top, left, bottom, right in parts of the picture */
} mnv2_object;

enum { MNV2_MAX_COLUMNS = 4097 };

/* Where a run keeps what may be objects, so that no one has to hold all scores. */
typedef struct {
    const mnv2_detection *how;
    const float *anchors; /* as for mnv2_detect */
    mnv2_object *room;    /* places for max_objects, and behind them for candidates */
    int32_t places;
    int32_t count; /* of candidates that there were; those that do not fit are lost */
} mnv2_candidates;

/* As mnv2_run_detector, but row by row what mnv2_run_detector would give is decoded and converted,
 * and candidates are kept, in no order. MNV2_BAD_PLAN also where `how` does not fit the plan, has
 * more than MNV2_MAX_COLUMNS columns, or the places are less than max_objects. Takes 18 KB of stack. */
int32_t mnv2_run_candidates(const mnv2_isa *isa, const mnv2_plan *plan, mnv2_pool *pool,
                            const void *weights, void *arena, const void *image,
                            int32_t image_is_float, mnv2_candidates *found);

/* The objects among them, as mnv2_detect gives them with enough room: their number, and themselves at
 * the beginning of the room. Or -1 where candidates were lost: then take mnv2_run_detector and
 * mnv2_detect. */
int32_t mnv2_detect_candidates(mnv2_candidates *found);

/* Objects that mnv2_detect needs room for, lest it drops candidates. */
int64_t mnv2_detect_room(const mnv2_detection *how);

/* The objects in what mnv2_run_detector gave, the best first: their number, at most max_objects, and
 * themselves at the beginning of `room`, which has `places`, max_objects or more. The other places
 * are for the candidates of a class; where those are too few its worst ones are left out, and
 * *dropped (or NULL) says how many. Ties go to the lower anchor, then to the lower class. What is not
 * finite is no candidate.
 *
 *   anchors   [anchors][4]: y and x of the centre, height, width in parts of the picture
 *   codes     [anchors][4]
 *   scores    [anchors][columns]; become shares, 0 to 1 */
int32_t mnv2_detect(const mnv2_detection *how, const float *anchors, const float *codes,
                    float *scores, mnv2_object *room, int32_t places, int32_t *dropped);

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
