/* The members that a network has to have in its model file, and where they lie. */
#ifndef MEMBERS_H
#define MEMBERS_H

#include "network.h"

/* As NumPy's arrays at most: a member's .npy header is compared with the one that is due. */
enum { MEMBER_ALIGNMENT = 64, MEMBER_HEAD_BYTES = 4096 + 12 };

/* Goes through them, each layer's weight first, a detector's anchors last. */
typedef struct {
    network *net;
    int32_t place; /* of the layer behind this one */
    int index;     /* of the next member of this layer */
    network_layer layer;
    layer_member member;
    int64_t *offset; /* of the network, to be filled in */
} member_walk;

/* False behind the last one. */
bool members_next(member_walk *walk);

/* Refuses a file that holds others, `meta` aside. */
bool members_are_named(network *net, const npz_directory *directory, refusal *why);

/* Fills in the network's offsets. `are_usable` unless a member is deflated or not aligned: then they
 * have to be copied. */
bool members_find(network *net, const npz_directory *directory, file_view file, bool *are_usable,
                  refusal *why);

/* Bytes of all data, and of each with what makes the next one aligned. */
void members_count(network *net, int64_t *weights, int64_t *aligned);

/* A detector's anchors are few, and every box depends on one: they are read at once, in `weights`,
 * which the offsets count from. */
bool members_check_anchors(const network *net, const uint8_t *weights, refusal *why);

#endif
