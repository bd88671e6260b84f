/* What a detector finds on a picture. */
#ifndef OBJECTS_H
#define OBJECTS_H

#include "model_file.h"
#include "photo.h"

/* In pixels of the upright picture. */
typedef struct {
    double left, top, right, bottom;
} object_box;

/* Where a network's frame lies in a picture: the middle of the resized picture, as the core's resize
 * cuts it out. */
typedef struct {
    double left, top, width, height; /* parts of the picture */
    photo_size picture;
} placement;

placement placement_of(const network *net, photo_size picture);
object_box placement_box(const placement *where, const mnv2_object *found);

/* The bounds of a detection with those of a caller, each the stricter one. */
mnv2_detection objects_bounded(const network *net, double threshold, int32_t most);

#endif
