#include "photo.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/mnv2_image.h"

bool photo_is(const char *path) {
    uint8_t start[4] = {0};
    struct stat state;
    /* What comes through a pipe comes once, to the first who opens it: to who reads pixels. */
    if (strcmp(path, "-") == 0 || stat(path, &state) != 0 || !S_ISREG(state.st_mode)) return false;
    const int handle = open(path, O_RDONLY | O_NONBLOCK);
    if (handle < 0) return false;
    const ssize_t count = read(handle, start, sizeof start);
    close(handle);
    return (count >= 3 && memcmp(start, "\xFF\xD8\xFF", 3) == 0) ||
           (count == 4 && memcmp(start, "\x89PNG", 4) == 0);
}

static const char remedy[] =
    "convert it to a baseline JPEG, or to pixels: convert PICTURE -resize HxW! -depth 8 rgb:OUT";

/* Decodes into `pixels`, in `room` or in memory of its own. */
static bool decode(const uint8_t *file, int64_t size, const network *net, const mnv2_isa *isa,
                   photo_room room, uint8_t *pixels, photo_size *upright, refusal *why) {
    mnv2_photo photo;
    mnv2_photo_plan plan;
    const int32_t looked = mnv2_photo_look(file, size, &photo);
    if (looked == MNV2_PHOTO_BOMB)
        return refuse(why, "more than %d scans: %s", MNV2_MAX_SCANS, remedy);
    if ((int64_t)photo.width * photo.height > MOST_PIXELS)
        return refuse(why, "%dx%d pixels: at most %d are decoded; scale it down", photo.width,
                      photo.height, MOST_PIXELS);
    if (looked != MNV2_IMAGE_OK) {
        if (photo.format && !(mnv2_photo_formats() & 1 << photo.format))
            return refuse(why, "this build has no decoder for it: it needs the headers of "
                               "libjpeg-turbo and libpng; %s", remedy);
        return refuse(why, "of a rare kind, or not whole: %s", remedy);
    }
    const bool is_turned = photo.orientation > 4;
    *upright = (photo_size){is_turned ? photo.height : photo.width,
                            is_turned ? photo.width : photo.height};
    const mnv2_framing wanted = {.width = photo.width,
                                 .height = photo.height,
                                 .orientation = photo.orientation,
                                 .out_width = net->stem.in_width,
                                 .out_height = net->stem.in_height,
                                 .filter = net->filter,
                                 .pixel_bytes = 3,
                                 .crop_fraction = net->crop_fraction,
                                 .fit = net->fit};
    if (mnv2_photo_plan_for(&photo, &wanted, 0, &plan) != MNV2_IMAGE_OK)
        return refuse(why, "%dx%d pixels: too long and narrow; crop it first", photo.width,
                      photo.height);
    void *own = plan.bytes > room.bytes ? aligned_alloc(64, (size_t)(plan.bytes + 63) / 64 * 64)
                                        : NULL;
    void *memory = plan.bytes > room.bytes ? own : room.memory;
    if (!memory) return refuse(why, "no memory for decoding: %lld bytes", (long long)plan.bytes);
    int64_t used;
    const int32_t status =
        mnv2_photo_decode(file, size, &photo, &plan, isa, memory, pixels, &used);
    free(own);
    if (status == MNV2_PHOTO_NO_ROOM)
        return refuse(why, "the decoder wants more than its %lld bytes",
                      (long long)plan.library_bytes);
    return status == MNV2_IMAGE_OK || refuse(why, "damaged: %s", remedy);
}

uint8_t *photo_read(const char *path, const network *net, const mnv2_isa *isa, photo_room room,
                    photo_size *upright, refusal *why) {
    struct stat state;
    const int handle = open(path, O_RDONLY | O_NONBLOCK);
    const bool is_there = handle >= 0 && fstat(handle, &state) == 0 && state.st_size > 0;
    void *file = is_there ? mmap(NULL, (size_t)state.st_size, PROT_READ, MAP_PRIVATE, handle, 0)
                          : MAP_FAILED;
    if (file == MAP_FAILED) refuse(why, "cannot read the photograph: %s", strerror(errno));
    if (handle >= 0) close(handle);
    uint8_t *pixels = malloc((size_t)net->stem.in_height * (size_t)net->stem.in_width * 3);
    bool is_done = pixels && file != MAP_FAILED;
    if (!pixels) refuse(why, "no memory for the network's pixels");
    if (is_done)
        is_done = decode(file, (int64_t)state.st_size, net, isa, room, pixels, upright, why);
    if (file != MAP_FAILED) munmap(file, (size_t)state.st_size);
    if (is_done) return pixels;
    free(pixels);
    refuse_within(why, "%.200s: ", path);
    return NULL;
}
