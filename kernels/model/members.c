#include "members.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { SHOWN_NAMES = 3 };

/* Behind those of the layers stand a detector's anchors. */
static bool anchors_member(member_walk *walk) {
    if (walk->net->answer != ANSWER_BOXES || walk->place > network_places(walk->net)) return false;
    walk->place++;
    walk->index = network_members(walk->net, &walk->layer);
    walk->member = network_anchors(walk->net);
    walk->offset = &walk->net->anchors;
    return true;
}

bool members_next(member_walk *walk) {
    while (walk->place == 0 || walk->index == network_members(walk->net, &walk->layer)) {
        do {
            if (walk->place >= network_places(walk->net)) return anchors_member(walk);
        } while (!network_layer_at(walk->net, walk->place++, &walk->layer));
        walk->index = 0;
    }
    walk->member = network_member(walk->net, &walk->layer, walk->index);
    walk->offset = walk->index == 0   ? walk->layer.weight
                   : walk->index == 1 ? walk->layer.bias
                                      : walk->layer.values;
    walk->index++;
    return true;
}

bool members_are_named(network *net, const npz_directory *directory, refusal *why) {
    bool known[NPZ_MAX_MEMBERS] = {false};
    shown_bytes some[SHOWN_NAMES];
    size_t missing = 0, unknown = 0, expected = 0;
    member_walk walk = {.net = net};
    for (; members_next(&walk); expected++) {
        const npz_member *found = npz_find(directory, walk.member.name);
        if (found)
            known[found - directory->members] = true;
        else if (missing++ < SHOWN_NAMES)
            some[missing - 1] = shown(walk.member.name, strlen(walk.member.name));
    }
    for (size_t i = 0; missing == 0 && i < directory->count; i++) {
        const npz_member *member = &directory->members[i];
        if (!known[i] && !npz_is_named(member, "meta") && unknown++ < SHOWN_NAMES)
            some[unknown - 1] = shown(member->name, member->name_bytes);
    }
    const size_t wrong = missing + unknown;
    if (wrong == 0) return true;
    member_walk last = {.net = net};
    while (members_next(&last)) continue;
    char more[32] = "";
    if (wrong > SHOWN_NAMES) snprintf(more, sizeof more, " and %zu more", wrong - SHOWN_NAMES);
    return refuse(why,
                  "%s %.80s%s%.80s%s%.80s%s: %.80s has exactly %zu arrays, %s.weight to %s",
                  missing ? "lacks" : "holds the unknown", some[0].text, wrong > 1 ? ", " : "",
                  wrong > 1 ? some[1].text : "", wrong > 2 ? ", " : "",
                  wrong > 2 ? some[2].text : "", more, net->name, expected,
                  net->names[0], last.member.name);
}

bool members_find(network *net, const npz_directory *directory, file_view file, bool *are_usable,
                  refusal *why) {
    member_walk walk = {.net = net};
    *are_usable = true;
    for (size_t i = 0; i < directory->count; i++)
        if (directory->members[i].deflated &&
            !npz_is_named(&directory->members[i], "meta"))
            *are_usable = false;
    if (!*are_usable) return true;
    while (members_next(&walk)) {
        const npz_member *member = npz_find(directory, walk.member.name);
        const uint64_t head = member->size < MEMBER_HEAD_BYTES ? member->size : MEMBER_HEAD_BYTES;
        uint64_t data = 0;
        if (!npy_data_offset(file.bytes + member->start, head, member->size,
                             &walk.member.array, &data, why))
            return refuse_within(why, "member '%s' ", walk.member.name);
        *walk.offset = (int64_t)(member->start + data);
        if (*walk.offset % MEMBER_ALIGNMENT != 0) *are_usable = false;
    }
    return true;
}

void members_count(network *net, int64_t *weights, int64_t *aligned) {
    member_walk walk = {.net = net};
    *weights = *aligned = 0;
    while (members_next(&walk)) {
        const int64_t bytes = (int64_t)npy_bytes(&walk.member.array);
        *weights += bytes;
        *aligned += (bytes + MEMBER_ALIGNMENT - 1) / MEMBER_ALIGNMENT *
                    MEMBER_ALIGNMENT;
    }
}

bool members_check_anchors(const network *net, const uint8_t *weights, refusal *why) {
    const int64_t count = net->answer == ANSWER_BOXES ? net->detection.anchors : 0;
    const uint8_t *x = weights + net->anchors;
    for (int64_t i = 0; i < 4 * count; i++) {
        float value;
        memcpy(&value, x + 4 * i, sizeof value);
        if (!isfinite(value) || (i % 4 >= 2 && !(value > 0)))
            return refuse(why, "anchors: anchor %" PRId64 ": %g: expected finite numbers, height "
                               "and width above 0; convert the model again", i / 4,
                          (double)value);
    }
    return true;
}

