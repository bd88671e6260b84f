/* Where what a depthwise layer leaves lies: panels of [pixels][16], one after the other; or, where
 * BLOCK_PANELS of them lie together,
 *
 *   [panels / BLOCK_PANELS][pixels][16 * BLOCK_PANELS]     the last block of as many as are left
 */
#ifndef MNV2_FILTERED_H
#define MNV2_FILTERED_H

#include <stddef.h>

#include "kernel.h"

/* Values from pixel to pixel of panel `panel` of `panels`. */
static ALWAYS_INLINE ptrdiff_t filtered_pixel(int panel, int panels) {
    if (BLOCK_PANELS == 1) return PANEL;
    return (ptrdiff_t)least(BLOCK_PANELS, panels - panel / BLOCK_PANELS * BLOCK_PANELS) * PANEL;
}

/* Values in front of its first pixel; panel_step: of all pixels of a panel. */
static ALWAYS_INLINE ptrdiff_t filtered_at(int panel, ptrdiff_t panel_step) {
    const int within = panel % BLOCK_PANELS;
    return (panel - within) * panel_step + within * PANEL;
}

#endif
