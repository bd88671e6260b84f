#include "objects.h"

#include <math.h>

#include "image/mnv2_image.h"

placement placement_of(const network *net, photo_size picture) {
    const int32_t height = net->stem.in_height, width = net->stem.in_width;
    /* Halves to even. */
    int64_t across = llrint(width / net->crop_fraction), down = llrint(height / net->crop_fraction);
    if (picture.width == width && picture.height == height) {
        across = width;
        down = height;
    } else if (net->fit == MNV2_CROP && down * picture.width >= across * picture.height) {
        across = down * picture.width / picture.height;
    } else if (net->fit == MNV2_CROP) {
        down = across * picture.height / picture.width;
    }
    return (placement){.left = rint((double)(across - width) / 2) / (double)across,
                       .top = rint((double)(down - height) / 2) / (double)down,
                       .width = width / (double)across,
                       .height = height / (double)down,
                       .picture = picture};
}

object_box placement_box(const placement *where, const mnv2_object *found) {
    const double width = where->picture.width, height = where->picture.height;
    return (object_box){.left = (where->left + (double)found->box[1] * where->width) * width,
                        .top = (where->top + (double)found->box[0] * where->height) * height,
                        .right = (where->left + (double)found->box[3] * where->width) * width,
                        .bottom = (where->top + (double)found->box[2] * where->height) * height};
}

mnv2_detection objects_bounded(const network *net, double threshold, int32_t most) {
    mnv2_detection made = net->detection;
    const int64_t boxes = (int64_t)made.anchors * network_classes(net);
    if ((float)threshold > made.score_threshold) made.score_threshold = (float)threshold;
    if (most < made.max_objects) made.max_objects = most;
    if (boxes < made.max_objects) made.max_objects = (int32_t)boxes;
    return made;
}
