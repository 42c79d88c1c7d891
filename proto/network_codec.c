#include "proto/network_codec.h"

#include <string.h>

void pf_network_to_proto(const struct pf_network *from, Packfed__Network *to)
{
    packfed__network__init(to);
    to->block_kind = from->block_kind;
    to->n_filters = to->n_layers = to->n_strides = from->n_blocks;
    to->filters = (uint32_t *)from->filters;
    to->layers = (uint32_t *)from->layers;
    to->strides = (uint32_t *)from->strides;
    to->in_channels = from->in_channels;
    to->in_height = from->in_height;
    to->in_width = from->in_width;
    to->n_classes = from->n_classes;
}

enum pf_status pf_network_from_proto(const Packfed__Network *from, struct pf_network *to,
                                     struct pf_error *err)
{
    if (from == NULL) return pf_fail(err, PF_CORRUPT, "network: absent");
    if (from->n_filters != from->n_layers || from->n_filters != from->n_strides)
        return pf_fail(err, PF_CORRUPT, "network: %zu filter counts, %zu layer counts, %zu strides",
                       from->n_filters, from->n_layers, from->n_strides);
    if (from->n_filters == 0 || from->n_filters > PF_MAX_BLOCKS)
        return pf_fail(err, PF_CORRUPT, "network: %zu blocks; 1 to %u are allowed", from->n_filters,
                       PF_MAX_BLOCKS);
    if (from->block_kind != PF_LAYER_SHIFT && from->block_kind != PF_LAYER_CONV3X3)
        return pf_fail(err, PF_CORRUPT, "network: layer type %u is neither shift nor conv3x3",
                       from->block_kind);
    struct pf_network network = {.block_kind = (enum pf_layer_kind)from->block_kind,
                                 .n_blocks = (uint32_t)from->n_filters,
                                 .in_channels = from->in_channels,
                                 .in_height = from->in_height,
                                 .in_width = from->in_width,
                                 .n_classes = from->n_classes};
    size_t bytes = from->n_filters * sizeof(uint32_t);
    memcpy(network.filters, from->filters, bytes);
    memcpy(network.layers, from->layers, bytes);
    memcpy(network.strides, from->strides, bytes);
    if (pf_network_validate(&network, err) != PF_OK) {
        if (err != NULL) err->status = PF_CORRUPT;
        return PF_CORRUPT;
    }
    *to = network;
    return PF_OK;
}
