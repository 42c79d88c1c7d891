/* What the coordinator sees of one masked update is uniform, whatever the update.  The test that
 * says so is itself tested: it must reject updates whose masking is weakened in ways that others
 * have shipped.
 *
 * Chi-square, 255 degrees of freedom, of three windows of 8 bits that cover all bits, over the
 * coordinates, over the differences of each to the one before it, and over what XOR makes of the
 * two: of independent uniform coordinates all three are independent and uniform.  BOUND is the
 * quantile that a uniform vector exceeds with probability 1.39e-8; MAX_CLAIMS such statistics are
 * compared at most, so that an honest masking fails this file with probability 1e-6. */
#include <stdarg.h>
#include <stddef.h>

#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <sodium.h>
#include <string.h>

#include "attacks.h"
#include "common/base/memory.h"

#define BOUND 400.95
#define MAX_CLAIMS 72u
#define N_VALUES 40000u
#define VALUE_BITS 16u
#define MODULUS_BITS 18u /* three participants */
#define MAX_TERMS 8u

static size_t n_claims;
static struct mini_round m;

/* ---- the test ------------------------------------------------------------------------------- */

enum view_of { VALUES, DIFFERENCES, XORS, N_VIEWS };

static const char *const view_names[N_VIEWS] = {"values", "differences", "exclusive ors"};
static const unsigned windows[] = {0, 5, MODULUS_BITS - 8};

static uint64_t seen(const struct pf_ring *ring, enum view_of view, size_t i)
{
    uint64_t value = pf_ring_get(ring, i);
    if (view == DIFFERENCES)
        return value - pf_ring_get(ring, i - 1); /* low bits are those mod 2^b */
    return view == XORS ? value ^ pf_ring_get(ring, i - 1) : value;
}

static double chi_square(const struct pf_ring *ring, enum view_of view, unsigned shift)
{
    size_t first = view != VALUES, n = pf_ring_length(ring) - first, counts[256] = {0};
    double expected = (double)n / 256, sum = 0;
    for (size_t i = first; i < n + first; i++) counts[seen(ring, view, i) >> shift & 0xff]++;
    for (size_t v = 0; v < 256; v++)
        sum += ((double)counts[v] - expected) * ((double)counts[v] - expected) / expected;
    return sum;
}

/* How many of the statistics are above the bound. */
static size_t count_suspicious(const struct pf_ring *ring, bool show)
{
    size_t n = 0;
    assert_int_equal(pf_ring_bits(ring), MODULUS_BITS);
    for (enum view_of view = VALUES; view < N_VIEWS; view++)
        for (size_t w = 0; w < PF_ARRAY_LENGTH(windows); w++) {
            double found = chi_square(ring, view, windows[w]);
            n += found > BOUND;
            if (show && found > BOUND)
                print_error("chi-square of bits %u to %u of %s: %g, bound %g\n", windows[w],
                            windows[w] + 7, view_names[view], found, BOUND);
        }
    return n;
}

static bool looks_uniform(const struct pf_ring *ring)
{
    return count_suspicious(ring, false) == 0;
}

static void expect_uniform(const struct pf_ring *ring)
{
    n_claims += N_VIEWS * PF_ARRAY_LENGTH(windows);
    assert_true(n_claims <= MAX_CLAIMS);
    assert_int_equal(count_suspicious(ring, true), 0);
}

/* ---- masked updates ------------------------------------------------------------------------- */

enum kind { ZERO, SPARSE, EXTREME };

static void fill_update(float *update, enum kind kind)
{
    memset(update, 0, N_VALUES * sizeof *update);
    for (size_t i = 0; i < N_VALUES; i++) {
        if (kind == SPARSE && i % 5000 == 7) update[i] = 1e30f;
        if (kind == EXTREME) update[i] = i % 3 == 0 ? 3e38f : -3e38f; /* clipped to the largest */
    }
}

/* One participant's masked update as the coordinator has it, and the masks in it, by the secrets
 * that the coordinator has not: terms[0] is the self mask. */
struct view {
    struct pf_ring *masked;
    struct pf_mask_term terms[MAX_TERMS];
    size_t n_terms;
};

static void derive_terms(const struct pf_secagg_client *client, struct view *view)
{
    const struct pf_digest *context = &client->config.context;
    pf_self_mask_key(&client->self_seed, context, view->terms[0].key);
    view->terms[0].sign = 1;
    view->n_terms = 1;
    for (uint32_t i = 0; i < client->n_neighbours; i++) {
        const struct pf_advert *peer = &client->neighbours[i].advert;
        struct pf_mask_term *term = &view->terms[view->n_terms++];
        assert_int_equal(pf_pair_mask_key(client->config.self, peer->member, client->mask_secret,
                                          client->advertise.advert.mask_key, peer->mask_key,
                                          context, &client->key_list, term->key, NULL),
                         PF_OK);
        term->sign = client->config.self < peer->member ? 1 : -1;
    }
}

static struct pf_ring *new_ring(size_t n, unsigned bits)
{
    struct pf_ring *ring = NULL;
    assert_int_equal(pf_ring_create(n, bits, &ring, NULL), PF_OK);
    return ring;
}

static struct view look(enum kind kind, uint32_t round, size_t n_values)
{
    const struct mini_config config = {
        .n_members = 3,
        .n_cohort = 3,
        .round = round,
        .length = {n_values, 0},
        .masking = {.value_bits = VALUE_BITS, .weight_cap = 50, .clip = {4.0, 4.0}},
        .played = MINI_NOBODY};
    const uint32_t watched = 1; /* one mask is added, the other subtracted */
    struct view view = {0};
    mini_init(&m, &config);
    mini_to(&m, MINI_READY);
    derive_terms(m.members[watched].client, &view);
    if (n_values == N_VALUES)
        fill_update(m.members[watched].update, kind);
    else
        memset(m.members[watched].update, 0, n_values * sizeof(float));
    mini_to(&m, MINI_MASKED);
    size_t n = pf_codec_ring_length_of(config.length, false);
    const struct pf_buffer *packed = &m.members[watched].masked;
    assert_int_equal(packed->length, pf_ring_packed_size(n, MODULUS_BITS));
    view.masked = new_ring(n, MODULUS_BITS);
    pf_ring_add_packed(view.masked, packed->bytes);
    mini_finish(&m);
    return view;
}

/* a − b, coordinate by coordinate. */
static struct pf_ring *difference(const struct pf_ring *a, const struct pf_ring *b)
{
    struct pf_ring *ring = new_ring(pf_ring_length(a), pf_ring_bits(a));
    for (size_t i = 0; i < pf_ring_length(a); i++)
        pf_ring_set(ring, i, (int64_t)(pf_ring_get(a, i) - pf_ring_get(b, i)));
    return ring;
}

static struct pf_ring *masks(const struct view *view, size_t first, size_t last)
{
    struct pf_ring *ring = new_ring(pf_ring_length(view->masked), MODULUS_BITS);
    pf_ring_add_masks(ring, view->terms + first, last - first, NULL);
    return ring;
}

/* The masked update without the masks first … last − 1. */
static struct pf_ring *without(const struct view *view, size_t first, size_t last)
{
    PF_CLEANUP(pf_ring_destroyp) struct pf_ring *removed = masks(view, first, last);
    return difference(view->masked, removed);
}

/* ---- honest masking ------------------------------------------------------------------------- */

static void test_a_masked_update_is_uniform_whatever_the_update(void **state)
{
    (void)state;
    for (enum kind kind = ZERO; kind <= EXTREME; kind++) {
        struct view view = look(kind, 1, N_VALUES);
        expect_uniform(view.masked);
        pf_ring_destroy(view.masked);
    }
}

/* The self mask protects an update that arrives after its sender was given up and its pairwise
 * masks were rebuilt; the pairwise masks protect it when the self mask is. */
static void test_either_kind_of_mask_hides_by_itself(void **state)
{
    (void)state;
    struct view view = look(ZERO, 1, N_VALUES);
    PF_CLEANUP(pf_ring_destroyp) struct pf_ring *self_alone = without(&view, 1, view.n_terms);
    PF_CLEANUP(pf_ring_destroyp) struct pf_ring *pairs_alone = without(&view, 0, 1);
    expect_uniform(self_alone);
    expect_uniform(pairs_alone);
    pf_ring_destroy(view.masked);
}

static void test_the_masks_of_two_rounds_have_nothing_in_common(void **state)
{
    (void)state;
    struct view first = look(ZERO, 1, N_VALUES), second = look(EXTREME, 2, N_VALUES);
    PF_CLEANUP(pf_ring_destroyp)
    struct pf_ring *apart = difference(first.masked, second.masked);
    expect_uniform(apart);
    pf_ring_destroy(first.masked);
    pf_ring_destroy(second.masked);
}

/* ---- weakened masking is found out ---------------------------------------------------------- */

static void test_an_update_without_its_masks_is_rejected(void **state)
{
    (void)state;
    for (enum kind kind = ZERO; kind <= EXTREME; kind++) {
        struct view view = look(kind, 1, N_VALUES);
        PF_CLEANUP(pf_ring_destroyp) struct pf_ring *bare = without(&view, 0, view.n_terms);
        assert_false(looks_uniform(bare));
        /* … and these are all the masks there are: what is left is the update. */
        size_t figures = pf_ring_length(bare) - N_VALUES;
        for (size_t i = 0; kind != EXTREME && i < N_VALUES; i++)
            assert_int_equal(pf_ring_get_signed(bare, figures + i) != 0,
                             kind == SPARSE && i % 5000 == 7);
        pf_ring_destroy(view.masked);
    }
}

static void test_one_mask_value_for_a_whole_vector_is_rejected(void **state)
{
    (void)state;
    struct view view = look(EXTREME, 1, N_VALUES);
    PF_CLEANUP(pf_ring_destroyp) struct pf_ring *bare = without(&view, 0, view.n_terms);
    PF_CLEANUP(pf_ring_destroyp) struct pf_ring *mask = masks(&view, 0, view.n_terms);
    uint64_t value = pf_ring_get(mask, 100);
    for (size_t i = 0; i < pf_ring_length(bare); i++)
        pf_ring_set(bare, i, (int64_t)(pf_ring_get(bare, i) + value));
    assert_false(looks_uniform(bare));
    pf_ring_destroy(view.masked);
}

static void test_masks_used_for_two_rounds_are_rejected(void **state)
{
    (void)state;
    struct view first = look(ZERO, 1, N_VALUES), second = look(EXTREME, 2, N_VALUES);
    PF_CLEANUP(pf_ring_destroyp) struct pf_ring *reused = without(&second, 0, second.n_terms);
    pf_ring_add_masks(reused, first.terms, first.n_terms, NULL);
    expect_uniform(reused); /* by itself it shows nothing */
    PF_CLEANUP(pf_ring_destroyp) struct pf_ring *apart = difference(first.masked, reused);
    assert_false(looks_uniform(apart));
    pf_ring_destroy(first.masked);
    pf_ring_destroy(second.masked);
}

static void test_masks_of_a_bit_too_few_are_rejected(void **state)
{
    (void)state;
    struct view view = look(ZERO, 1, N_VALUES);
    PF_CLEANUP(pf_ring_destroyp) struct pf_ring *bare = without(&view, 0, view.n_terms);
    PF_CLEANUP(pf_ring_destroyp) struct pf_ring *mask = masks(&view, 0, 1);
    const uint64_t half = (UINT64_C(1) << (MODULUS_BITS - 1)) - 1;
    for (size_t i = 0; i < pf_ring_length(bare); i++)
        pf_ring_set(bare, i, (int64_t)(pf_ring_get(bare, i) + (pf_ring_get(mask, i) & half)));
    assert_false(looks_uniform(bare));
    pf_ring_destroy(view.masked);
}

/* The update with weakened masks in place of its own, whatever they are. */
static struct pf_ring *with_masks(const struct pf_ring *bare, const struct pf_ring *mask)
{
    struct pf_ring *ring = new_ring(pf_ring_length(bare), MODULUS_BITS);
    for (size_t i = 0; i < pf_ring_length(bare); i++)
        pf_ring_set(ring, i, (int64_t)(pf_ring_get(bare, i) + pf_ring_get(mask, i)));
    return ring;
}

/* Two bits in the middle stay bare, all others are masked: neither the low byte nor the high one
 * tells. */
static void test_masks_with_a_gap_are_rejected(void **state)
{
    (void)state;
    struct view view = look(ZERO, 1, N_VALUES);
    PF_CLEANUP(pf_ring_destroyp) struct pf_ring *bare = without(&view, 0, view.n_terms);
    PF_CLEANUP(pf_ring_destroyp) struct pf_ring *mask = masks(&view, 0, 1);
    for (size_t i = 0; i < pf_ring_length(mask); i++)
        pf_ring_set(mask, i, (int64_t)(pf_ring_get(mask, i) & ~UINT64_C(0x300)));
    PF_CLEANUP(pf_ring_destroyp) struct pf_ring *weak = with_masks(bare, mask);
    assert_true(chi_square(weak, VALUES, 0) <= BOUND);
    assert_true(chi_square(weak, VALUES, MODULUS_BITS - 8) <= BOUND);
    assert_false(looks_uniform(weak));
    pf_ring_destroy(view.masked);
}

/* Each coordinate for itself is uniform, but every other mask is the one before it plus a constant,
 * as from a counter: the difference of the two coordinates is that of the update. */
static void test_masks_that_serve_two_coordinates_are_rejected(void **state)
{
    (void)state;
    struct view view = look(ZERO, 1, N_VALUES);
    PF_CLEANUP(pf_ring_destroyp) struct pf_ring *bare = without(&view, 0, view.n_terms);
    PF_CLEANUP(pf_ring_destroyp) struct pf_ring *mask = masks(&view, 0, 1);
    for (size_t i = 1; i < pf_ring_length(mask); i += 2)
        pf_ring_set(mask, i, (int64_t)(pf_ring_get(mask, i - 1) + 0x15555));
    PF_CLEANUP(pf_ring_destroyp) struct pf_ring *weak = with_masks(bare, mask);
    assert_true(chi_square(weak, VALUES, 0) <= 2 * BOUND); /* mostly below the bound itself */
    assert_true(chi_square(weak, VALUES, MODULUS_BITS - 8) <= 2 * BOUND);
    assert_true(chi_square(weak, DIFFERENCES, 0) > 10 * BOUND);
    assert_false(looks_uniform(weak));
    pf_ring_destroy(view.masked);
}

/* Of every other mask only the low bits are its own. */
static void test_masks_that_share_high_bits_are_rejected(void **state)
{
    (void)state;
    struct view view = look(ZERO, 1, N_VALUES);
    PF_CLEANUP(pf_ring_destroyp) struct pf_ring *bare = without(&view, 0, view.n_terms);
    PF_CLEANUP(pf_ring_destroyp) struct pf_ring *mask = masks(&view, 0, 1);
    for (size_t i = 1; i < pf_ring_length(mask); i += 2)
        pf_ring_set(mask, i, (int64_t)(pf_ring_get(mask, i - 1) ^ (pf_ring_get(mask, i) & 0xfff)));
    PF_CLEANUP(pf_ring_destroyp) struct pf_ring *weak = with_masks(bare, mask);
    assert_true(chi_square(weak, XORS, MODULUS_BITS - 8) > 10 * BOUND);
    assert_false(looks_uniform(weak));
    pf_ring_destroy(view.masked);
}

/* A few vectors show how many seeds there are at all: of 4 bits, 17 of them repeat one. */
enum { N_ROUNDS = 17, N_SHORT = 8 };

static size_t count_repeats(struct pf_ring *const vectors[N_ROUNDS])
{
    size_t repeats = 0, n = pf_ring_length(vectors[0]);
    for (size_t a = 0; a < N_ROUNDS; a++)
        for (size_t b = 0; b < a; b++) {
            size_t equal = 0;
            for (size_t i = n - N_SHORT; i < n; i++)
                equal += pf_ring_get(vectors[a], i) == pf_ring_get(vectors[b], i);
            repeats += equal == N_SHORT;
        }
    return repeats;
}

static void test_seeds_folded_to_few_bits_are_found_out(void **state)
{
    (void)state;
    struct pf_ring *honest[N_ROUNDS], *folded[N_ROUNDS];
    for (uint32_t r = 0; r < N_ROUNDS; r++) {
        struct view view = look(ZERO, r + 1, N_SHORT);
        honest[r] = view.masked;
        folded[r] = without(&view, 0, view.n_terms);
        uint8_t few = view.terms[0].key[0] & 15;
        memset(view.terms[0].key, 0, sizeof view.terms[0].key);
        view.terms[0].key[0] = few;
        pf_ring_add_masks(folded[r], view.terms, 1, NULL);
    }
    assert_int_equal(count_repeats(honest), 0);
    assert_true(count_repeats(folded) > 0);
    for (size_t r = 0; r < N_ROUNDS; r++) {
        pf_ring_destroy(honest[r]);
        pf_ring_destroy(folded[r]);
    }
}

/* ---- a model that differs by participant ---------------------------------------------------- */

enum { N_PEERS = 6, GROUP = 3 }; /* members 0 … 2 are sent one model, 3 … 5 another */

static struct mini_round other;

static void start_two_groups(void)
{
    struct mini_config config = {
        .n_members = N_PEERS, .n_cohort = N_PEERS, .model = 1, .played = MINI_NOBODY};
    mini_init(&m, &config);
    config.model = 2;
    mini_init(&other, &config);
    assert_false(pf_digest_equal(&m.context, &other.context));
}

static const struct mini_member *in_group(uint32_t member)
{
    return member < GROUP ? &m.members[member] : &other.members[member];
}

static void test_keys_for_another_model_are_refused(void **state)
{
    (void)state;
    start_two_groups();
    mini_to(&m, MINI_REVEALED);
    for (uint32_t victim = 0; victim < N_PEERS; victim++) {
        struct mini_round *round = victim < GROUP ? &m : &other;
        struct pf_message list = mini_key_list(round, victim);
        for (uint32_t i = 0; i < N_PEERS; i++) list.key_list.adverts[i] = in_group(i)->advert;
        refuses_list(round, victim, &list.key_list, PF_REASON_SIGNATURE);
        pf_message_finish(&list);
    }
    mini_expect_sum(&m); /* all on one model */
    mini_finish(&m);
    mini_finish(&other);
}

/* Even without signatures: the sum of all pairwise masks as each would make them.  Updates are zero
 * here, so that what is left is the sum. */
static struct pf_ring *sum_of_masks(bool two_models)
{
    struct pf_ring *sum = new_ring(N_VALUES, MODULUS_BITS);
    const struct pf_digest key_list = {{1}}; /* the coordinator would show all the same one */
    for (uint32_t i = 0; i < N_PEERS; i++)
        for (uint32_t j = 0; j < N_PEERS; j++) {
            struct pf_mask_term term = {.sign = i < j ? 1 : -1};
            const struct pf_secagg_client *client = in_group(i)->client;
            if (i == j) continue;
            assert_int_equal(pf_pair_mask_key(i, j, client->mask_secret,
                                              in_group(i)->advert.mask_key,
                                              in_group(j)->advert.mask_key,
                                              two_models ? &client->config.context : &m.context,
                                              &key_list, term.key, NULL),
                             PF_OK);
            pf_ring_add_masks(sum, &term, 1, NULL);
        }
    return sum;
}

static void test_masks_for_two_models_leave_noise(void **state)
{
    (void)state;
    start_two_groups();
    PF_CLEANUP(pf_ring_destroyp) struct pf_ring *one = sum_of_masks(false);
    PF_CLEANUP(pf_ring_destroyp) struct pf_ring *two = sum_of_masks(true);
    for (size_t i = 0; i < N_VALUES; i++) assert_int_equal(pf_ring_get(one, i), 0);
    assert_false(looks_uniform(one));
    expect_uniform(two);
    mini_finish(&m);
    mini_finish(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_masked_update_is_uniform_whatever_the_update),
        cmocka_unit_test(test_either_kind_of_mask_hides_by_itself),
        cmocka_unit_test(test_the_masks_of_two_rounds_have_nothing_in_common),
        cmocka_unit_test(test_an_update_without_its_masks_is_rejected),
        cmocka_unit_test(test_one_mask_value_for_a_whole_vector_is_rejected),
        cmocka_unit_test(test_masks_used_for_two_rounds_are_rejected),
        cmocka_unit_test(test_masks_of_a_bit_too_few_are_rejected),
        cmocka_unit_test(test_masks_with_a_gap_are_rejected),
        cmocka_unit_test(test_masks_that_serve_two_coordinates_are_rejected),
        cmocka_unit_test(test_masks_that_share_high_bits_are_rejected),
        cmocka_unit_test(test_seeds_folded_to_few_bits_are_found_out),
        cmocka_unit_test(test_keys_for_another_model_are_refused),
        cmocka_unit_test(test_masks_for_two_models_leave_noise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
