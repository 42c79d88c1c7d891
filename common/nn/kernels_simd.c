/* The kernels in vector form.  Compiled once per instruction set, with PF_KERNELS_TABLE naming
 * the table it defines and PF_KERNELS_NAME its name; see kernels.h for what each function does. */
#include "common/nn/kernels.h"

#include "common/nn/simd_activate.h"
#include "common/nn/simd_back.h"
#include "common/nn/simd_packed.h"
#include "common/nn/simd_products.h"

extern const struct pf_kernels PF_KERNELS_TABLE;

const struct pf_kernels PF_KERNELS_TABLE = {
    .name = PF_KERNELS_NAME,
    .activate = activate,
    .normalise_back = normalise_back,
    .activate_back = activate_back,
    .pool = pool,
    .pool_back = pool_back,
    .product = product,
    .product_weights = product_weights,
    .packed = packed,
    .packed_weights = packed_weights,
    .stream_end = stream_end,
};
