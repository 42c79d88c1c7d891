/* A whole lowered network on the functional engine, one image at a time.
 *
 * The network is read-only once made and may be shared; each thread brings its own scratch. */
#ifndef PF_SIM_ARRAY_NETWORK_H
#define PF_SIM_ARRAY_NETWORK_H

#include "common/quant/quant.h"
#include "sim/array/functional.h"

struct pf_array_network {
    const struct pf_quant_model *lowered; /* borrowed: must outlive */
    struct pf_array_functional **layers;  /* [lowered->n_layers] */
    pf_array_kernel *kernel;
    size_t n_activations; /* bytes of the largest activation */
    size_t n_plane;       /* bytes of the largest plane, padded to panels */
    size_t n_panel_words; /* words of the largest set of panels */
};

struct pf_array_scratch {
    uint8_t *input, *output; /* [n_activations] */
    uint8_t *planes;         /* [2][n_plane] */
    uint32_t *panels;        /* [n_panel_words] */
};

/* Lays every layer out as the array holds it, through its packing. */
PF_NODISCARD enum pf_status pf_array_network_create(const struct pf_quant_model *lowered,
                                                    struct pf_array_network **network,
                                                    struct pf_error *err);
void pf_array_network_destroy(struct pf_array_network *self);
PF_DEFINE_CLEANUP(struct pf_array_network, pf_array_network_destroy)

PF_NODISCARD enum pf_status pf_array_scratch_init(struct pf_array_scratch *self,
                                                  const struct pf_array_network *network,
                                                  struct pf_error *err);
void pf_array_scratch_finish(struct pf_array_scratch *self);

/* logits[n_classes] of one image [channel][y][x]. */
void pf_array_network_infer(const struct pf_array_network *self, struct pf_array_scratch *scratch,
                            const uint8_t *image, int32_t *logits);

#endif
