/* Denormals are flushed to zero inside a run (they cost hundreds of cycles each and no accuracy
 * that float32 logits could show); the caller's state comes back unchanged. */
#ifndef MNV2_FLOAT_STATE_H
#define MNV2_FLOAT_STATE_H

#include <stdint.h>

#if defined(__x86_64__) || (defined(__i386__) && defined(__SSE2__))
#include <xmmintrin.h>
enum { DENORMALS_ARE_ZERO = 0x0040, ALL_MASKED = 0x1f80, FLUSH_TO_ZERO = 0x8000 };
typedef unsigned int float_state;
static inline float_state float_state_enter(void) {
    const float_state caller = _mm_getcsr();
    _mm_setcsr(ALL_MASKED | FLUSH_TO_ZERO | DENORMALS_ARE_ZERO); /* and round to nearest */
    return caller;
}
static inline void float_state_leave(float_state caller) { _mm_setcsr(caller); }
#elif defined(__aarch64__)
typedef uint64_t float_state;
static inline float_state float_state_enter(void) {
    float_state caller;
    __asm__ volatile("mrs %0, fpcr" : "=r"(caller));
    const float_state flush = UINT64_C(1) << 24; /* FZ, and round to nearest */
    __asm__ volatile("msr fpcr, %0" : : "r"(flush));
    return caller;
}
static inline void float_state_leave(float_state caller) {
    __asm__ volatile("msr fpcr, %0" : : "r"(caller));
}
#else
typedef int float_state;
static inline float_state float_state_enter(void) { return 0; }
static inline void float_state_leave(float_state caller) { (void)caller; }
#endif

#endif
