#include "tests/unit/coordinator/small_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct pf_model *small_model(void)
{
    const struct pf_network network = {.block_kind = PF_LAYER_SHIFT,
                                       .n_blocks = 1,
                                       .filters = {8},
                                       .layers = {2},
                                       .strides = {2},
                                       .in_channels = 3,
                                       .in_height = 32,
                                       .in_width = 32,
                                       .n_classes = 10};
    struct pf_model *model = NULL;
    assert_int_equal(pf_model_create(&network, NULL, &model, NULL), PF_OK);
    pf_model_initialise(model, 3);
    return model;
}
