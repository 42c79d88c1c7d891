#include "common/data/augment.h"

#include <string.h>

/* Where one crop lies: output row y shows row y + top of the image, column x column x + left. */
struct crop {
    int64_t top, left; /* −padding … padding */
    bool flip;
};

static const struct crop whole_image = {0, 0, false};

static struct crop draw_crop(const struct pf_augmentation *augmentation, struct pf_random *random)
{
    struct crop crop = whole_image;
    if (augmentation == NULL || random == NULL) return crop;
    uint32_t padding = PF_MIN(augmentation->padding, PF_MAX_PADDING);
    if (padding > 0) {
        crop.top = (int64_t)pf_random_below(random, 2 * padding + 1) - (int64_t)padding;
        crop.left = (int64_t)pf_random_below(random, 2 * padding + 1) - (int64_t)padding;
    }
    if (augmentation->flip) crop.flip = pf_random_below(random, 2) == 1;
    return crop;
}

static void reverse_row(uint8_t *row, size_t width)
{
    for (size_t i = 0, j = width - 1; i < j; i++, j--) {
        uint8_t pixel = row[i];
        row[i] = row[j];
        row[j] = pixel;
    }
}

static void crop_row(uint8_t *out, const uint8_t *in, size_t width, const struct crop *crop)
{
    int64_t side = (int64_t)width;
    /* Columns first … end of the output show the image, the rest its padding. */
    int64_t first = PF_MIN(PF_MAX(-crop->left, 0), side);
    int64_t end = PF_MAX(PF_MIN(side - crop->left, side), first);
    memset(out, 0, (size_t)first);
    if (end > first) memcpy(out + first, in + first + crop->left, (size_t)(end - first));
    memset(out + end, 0, (size_t)(side - end));
    if (crop->flip) reverse_row(out, width);
}

static void crop_image(uint8_t *out, const uint8_t *in, const struct pf_dataset *dataset,
                       const struct crop *crop)
{
    size_t width = dataset->width;
    int64_t height = (int64_t)dataset->height;
    for (uint32_t c = 0; c < dataset->n_channels; c++, in += width * dataset->height) {
        for (int64_t y = 0; y < height; y++, out += width) {
            int64_t row = y + crop->top;
            if (row < 0 || row >= height)
                memset(out, 0, width);
            else
                crop_row(out, in + (size_t)row * width, width, crop);
        }
    }
}

void pf_augment_image(uint8_t *out, const struct pf_dataset *dataset, size_t image,
                      const struct pf_augmentation *augmentation, struct pf_random *random)
{
    size_t bytes = pf_dataset_image_bytes(dataset);
    const uint8_t *in = dataset->pixels + image * bytes;
    struct crop crop = draw_crop(augmentation, random);
    if (crop.top == 0 && crop.left == 0 && !crop.flip)
        memcpy(out, in, bytes);
    else
        crop_image(out, in, dataset, &crop);
}

void pf_batch_gather(uint8_t *images, uint8_t *labels, const struct pf_dataset *dataset,
                     const uint32_t *indices, size_t n, const struct pf_augmentation *augmentation,
                     struct pf_random *random)
{
    size_t bytes = pf_dataset_image_bytes(dataset);
    for (size_t i = 0; i < n; i++) {
        pf_augment_image(images + i * bytes, dataset, indices[i], augmentation, random);
        labels[i] = dataset->labels[indices[i]];
    }
}
