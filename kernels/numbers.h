/* How weights and activations are stored, and what a multiply-add takes of them: one precision of
 * mnv2_precision, chosen by the compiler's flags. The kernels above say the same for each.
 *
 *   weight                 a stored weight; those of depthwise layers are always float32
 *   activation             a stored thin or filtered value, or pixel; expanded values, sums and
 *                          biases are always float32
 *   PAIR                   neighbouring terms of a sum whose weights lie side by side in a lane:
 *                          1, [terms][16], or 2, [terms/2][16][2], an odd last one beside a zero
 *   FUSED                  terms that one multiply-add takes: 1, or the PAIR
 *
 *   dot_weights(w, t)      the operand for terms [t, t + FUSED) of the PAIR at w, LANES outputs
 *   dot_inputs(x, terms)   the same for x: `terms` of them, of which one may lack its neighbour
 *   dot(x, w, sum), half_dot
 *   vf_from_weights(w, t)  term t of the PAIR at w, for vf_fma
 *   panel_from_weights(w, t, n, out)   the same of a panel, its first n vectors
 *   vf_from_values(p), vf_to_values(p, x), ..._part, half_from_values, half_to_values
 *                          activations, as vf_load, vf_store, half_load_rows, half_store_rows
 */
#ifndef MNV2_NUMBERS_H
#define MNV2_NUMBERS_H

#include "simd.h"

#if defined(MNV2_NUMBERS_FLOAT32)
typedef float weight;
enum { PAIR = 1 };
static inline vf vf_from_weights(const weight *w, int t) {
    (void)t;
    return vf_load(w);
}
static inline half half_from_weights(const weight *w, int v, int t) {
    (void)t;
    return half_load(w, v);
}
#elif defined(MNV2_NUMBERS_FLOAT16_WEIGHTS)
typedef uint16_t weight;
enum { PAIR = 1 };
static inline vf vf_from_weights(const weight *w, int t) {
    (void)t;
    return vf_from_f16(w);
}
static inline half half_from_weights(const weight *w, int v, int t) {
    (void)t;
    return half_from_f16(w, v);
}
#else
typedef uint16_t weight;
enum { PAIR = 2 };
static inline vf vf_from_weights(const weight *w, int t) { return vf_from_pairs(w, t); }
static inline half half_from_weights(const weight *w, int v, int t) {
    return half_from_pairs(w, v, t);
}
#endif

static ALWAYS_INLINE void panel_from_weights(const weight *w, int t, const int n, vf *out) {
#if defined(MNV2_NUMBERS_FLOAT32) && LANE_TERMS > 1
    (void)t;
    vf_load_panel(w, n, out);
#else
    UNROLL for (int v = 0; v < n; v++) out[v] = vf_from_weights(w + v * LANES * PAIR, t);
#endif
}

#if defined(MNV2_NUMBERS_BFLOAT16)
#include "numbers_bfloat16.h"
#else
typedef float activation;
enum { FUSED = 1 };
static inline vf dot_weights(const weight *w, int t) { return vf_from_weights(w, t); }
static inline half half_dot_weights(const weight *w, int v, int t) {
    return half_from_weights(w, v, t);
}
static inline vf dot_inputs(const activation *x, int terms) {
    (void)terms;
    return vf_set1(*x);
}
static inline vf dot(vf x, vf w, vf sum) { return vf_fma(x, w, sum); }
static inline half half_dot(half x, half w, half sum) { return half_fma(x, w, sum); }
static inline vf vf_from_values(const activation *p) { return vf_load(p); }
static inline vf vf_from_values_part(const activation *p, int n) { return vf_load_part(p, n); }
static inline void vf_to_values(activation *p, vf x) { vf_store(p, x); }
static inline void vf_to_values_part(activation *p, vf x, int n) { vf_store_part(p, x, n); }
static inline half half_from_values(const activation *p, ptrdiff_t step, int v, int n,
                                    int pixels) {
    return half_load_rows(p, step, v, n, pixels);
}
static inline void half_to_values(activation *p, ptrdiff_t step, int v, int n, int pixels,
                                  half x) {
    half_store_rows(p, step, v, n, pixels, x);
}
#endif

/* Whether layers of few channels take pixels in pairs (paired.h). */
#if defined(HAS_PAIRS) && defined(MNV2_NUMBERS_FLOAT32)
#define PAIRED 1
#else
#define PAIRED 0
#endif

/* Terms of which weights are stored for `depth` neighbouring terms of a sum. */
static inline int stored_terms(int depth) { return (depth + PAIR - 1) / PAIR * PAIR; }

/* Whether the sums of a convolution that is not complete may wait in its thin output. */
enum { THIN_HOLDS_SUMS = sizeof(activation) == sizeof(float) };

#endif
