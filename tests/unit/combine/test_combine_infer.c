/* Combined networks under the real forward pass. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>

#include "common/nn/train.h"
#include "tests/unit/combine/combine_fixture.h"

#define N_IMAGES 7u
#define N_LOGITS (N_IMAGES * 4u)

static void infer(const struct pf_model *model, float logits[N_LOGITS])
{
    uint8_t images[N_IMAGES * 3 * 6 * 5];
    struct pf_random random;
    pf_random_init(&random, 1, "test images", 0);
    for (size_t i = 0; i < sizeof images; i++) images[i] = (uint8_t)pf_random_below(&random, 256);
    PF_CLEANUP(pf_pool_destroyp) struct pf_pool *pool = NULL;
    assert_int_equal(pf_pool_create(2, &pool, NULL), PF_OK);
    assert_int_equal(pf_infer(model, images, N_IMAGES, pool, logits, NULL), PF_OK);
}

/* Sums in another order: a few units in the last place of float. */
static void expect_same_logits(const struct pf_model *a, const struct pf_model *b)
{
    float x[N_LOGITS], y[N_LOGITS], spread = 0.0f;
    infer(a, x);
    infer(b, y);
    for (size_t i = 0; i < N_LOGITS; i++) {
        if (!(fabsf(x[i] - y[i]) < 1e-4f))
            fail_msg("logit %zu is %g and %g", i, (double)x[i], (double)y[i]);
        spread = fmaxf(spread, fabsf(x[i] - x[0]));
    }
    assert_true(spread > 0.01f); /* a network that says something */
}

static struct pf_model *combined_model(enum pf_layer_kind kind, bool permute_rows)
{
    PF_CLEANUP(pf_model_destroyp) struct pf_model *model = random_model(kind, 11);
    const struct pf_combine_options options = {
        .alpha = {2, 4}, .gamma = 0.5, .density = {0.5, 0.3}, .permute_rows = permute_rows};
    struct pf_model *combined = NULL;
    assert_int_equal(pf_model_combine(model, &options, &combined, NULL, NULL), PF_OK);
    return combined;
}

static const enum pf_layer_kind kinds[] = {PF_LAYER_SHIFT, PF_LAYER_CONV3X3};

static void a_packed_model_computes_what_the_masked_dense_one_does(void **state)
{
    (void)state;
    for (size_t i = 0; i < PF_ARRAY_LENGTH(kinds); i++) {
        PF_CLEANUP(pf_model_destroyp) struct pf_model *packed = combined_model(kinds[i], false);
        PF_CLEANUP(pf_model_destroyp) struct pf_model *masked = NULL;
        assert_int_equal(pf_model_densify(packed, &masked, NULL), PF_OK);
        expect_same_logits(packed, masked);
    }
}

static void permuted_rows_compute_the_same(void **state)
{
    (void)state;
    for (size_t i = 0; i < PF_ARRAY_LENGTH(kinds); i++) {
        PF_CLEANUP(pf_model_destroyp) struct pf_model *plain = combined_model(kinds[i], false);
        PF_CLEANUP(pf_model_destroyp) struct pf_model *permuted = combined_model(kinds[i], true);
        assert_false(pf_model_same_shape(plain, permuted));
        expect_same_logits(plain, permuted);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_packed_model_computes_what_the_masked_dense_one_does),
        cmocka_unit_test(permuted_rows_compute_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
