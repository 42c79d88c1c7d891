#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "common/combine/schedule.h"

static struct pf_schedule_options options_of(enum pf_stage_schedule kind)
{
    struct pf_schedule_options options;
    pf_schedule_options_default(&options);
    options.kind = kind;
    options.n_blocks = 3;
    options.alpha[0] = 1;
    options.alpha[1] = 4;
    options.alpha[2] = 8;
    return options;
}

static struct pf_schedule plan(const struct pf_schedule_options *options)
{
    struct pf_schedule schedule;
    struct pf_error err = {0};
    if (pf_schedule_plan(options, &schedule, &err) != PF_OK) fail_msg("%s", err.text);
    return schedule;
}

static void expect_refusal(const struct pf_schedule_options *options, const char *sentence)
{
    struct pf_schedule schedule = {.n_stages = 77};
    struct pf_error err = {0};
    assert_int_equal(pf_schedule_plan(options, &schedule, &err), PF_INVALID);
    assert_int_equal(schedule.n_stages, 77);
    if (strstr(err.text, sentence) == NULL) fail_msg("says: %s", err.text);
}

/* What holds for every plan. */
static void check_plan(const struct pf_schedule_options *options)
{
    const struct pf_schedule schedule = plan(options);
    const struct pf_network network = {.n_blocks = options->n_blocks};
    assert_int_equal(pf_schedule_rounds(&schedule), options->rounds);
    assert_in_range(schedule.n_stages, 1, PF_MAX_STAGES);
    double density[PF_MAX_BLOCKS] = {1, 1, 1, 1, 1, 1, 1, 1};
    uint32_t alpha[PF_MAX_BLOCKS] = {0};
    for (size_t i = 0; i < schedule.n_stages; i++) {
        const struct pf_stage *stage = &schedule.stages[i];
        bool last = i + 1 == schedule.n_stages;
        assert_true(stage->rounds >= 1);
        assert_true(stage->schedule_begin >= 0.0 && stage->schedule_begin < stage->schedule_end);
        assert_true(stage->schedule_end <= 1.0);
        assert_int_equal(pf_combine_options_validate(&stage->combine, &network, NULL), PF_OK);
        assert_true(stage->combine.gamma == options->gamma);
        assert_int_equal(stage->combine.permute_rows, last && options->permute_rows);
        for (uint32_t b = 0; b < options->n_blocks; b++) {
            assert_true(stage->combine.density[b] <= density[b]);
            assert_true(stage->combine.alpha[b] >= alpha[b]);
            if (options->alpha[b] == 1) assert_true(stage->combine.density[b] == 1.0);
            if (last) assert_int_equal(stage->combine.alpha[b], options->alpha[b]);
            density[b] = stage->combine.density[b];
            alpha[b] = stage->combine.alpha[b];
        }
    }
}

static void every_plan_adds_up_and_only_gets_sparser(void **state)
{
    (void)state;
    static const enum pf_stage_schedule kinds[] = {PF_STAGES_RISING_ALPHA, PF_STAGES_PUBLISHED,
                                                   PF_STAGES_PAPER};
    for (size_t k = 0; k < PF_ARRAY_LENGTH(kinds); k++) {
        struct pf_schedule_options options = options_of(kinds[k]);
        for (uint32_t rounds = 14; rounds < 320; rounds += 1 + rounds / 9) {
            options.rounds = rounds;
            options.permute_rows = rounds % 2 == 0;
            check_plan(&options);
        }
    }
}

static void rising_alpha_doubles_up_to_the_target(void **state)
{
    (void)state;
    struct pf_schedule_options options = options_of(PF_STAGES_RISING_ALPHA);
    options.rounds = 32;
    options.density_factor = 1.25;
    const struct pf_schedule schedule = plan(&options);
    static const uint32_t alphas[3][3] = {{1, 2, 2}, {1, 4, 4}, {1, 4, 8}};
    static const double densities[3][3] = {
        {1, 0.625, 0.625}, {1, 0.3125, 0.3125}, {1, 0.3125, 0.15625}};
    static const uint32_t rounds[3] = {3, 3, 26};
    assert_int_equal(schedule.n_stages, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(schedule.stages[i].rounds, rounds[i]);
        assert_true(schedule.stages[i].schedule_begin == 0.0);
        assert_true(schedule.stages[i].schedule_end == 1.0);
        assert_true(schedule.stages[i].combine.keep_groups);
        for (size_t b = 0; b < 3; b++) {
            assert_int_equal(schedule.stages[i].combine.alpha[b], alphas[i][b]);
            assert_true(schedule.stages[i].combine.density[b] == densities[i][b]);
        }
    }
}

static void rising_alpha_keeps_what_the_conflicts_allow(void **state)
{
    (void)state;
    struct pf_schedule_options options = options_of(PF_STAGES_RISING_ALPHA);
    static const double gammas[] = {0.0, 0.5, 1.75, 8.0};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(gammas); i++) {
        options.gamma = gammas[i];
        const struct pf_schedule schedule = plan(&options);
        double factor = 0.8 * (1.0 + gammas[i]);
        assert_true(schedule.stages[0].combine.density[0] == 1.0); /* α = 1 */
        assert_true(schedule.stages[0].combine.density[1] == fmin(1.0, factor / 2.0));
        assert_true(schedule.stages[2].combine.density[2] == fmin(1.0, factor / 8.0));
    }
}

static void combining_at_once_does_what_the_last_stage_does(void **state)
{
    (void)state;
    for (unsigned kind = PF_STAGES_RISING_ALPHA; kind <= PF_STAGES_PAPER; kind++) {
        struct pf_schedule_options options = options_of((enum pf_stage_schedule)kind);
        options.rounds = 256;
        const struct pf_schedule schedule = plan(&options);
        const struct pf_combine_options *last = &schedule.stages[schedule.n_stages - 1].combine;
        options.rounds = 1; /* too few for the stages, which does not matter here */
        struct pf_combine_options combine;
        assert_int_equal(pf_schedule_plan_last(&options, &combine, NULL), PF_OK);
        for (size_t b = 0; b < 3; b++) {
            assert_int_equal(combine.alpha[b], last->alpha[b]);
            assert_true(combine.density[b] == last->density[b]);
        }
        assert_true(combine.permute_rows == last->permute_rows);
    }
}

static void every_stage_packs_as_the_options_say(void **state)
{
    (void)state;
    for (unsigned kind = PF_STAGES_RISING_ALPHA; kind <= PF_STAGES_PAPER; kind++) {
        struct pf_schedule_options options = options_of((enum pf_stage_schedule)kind);
        options.packer = (struct pf_packer_options){PF_PACKER_ITERATED, 0.125, 77};
        options.saliency = PF_SALIENCY_OUTPUT;
        options.tile_columns = 24;
        options.tile_slack = 0.0625;
        const struct pf_schedule schedule = plan(&options);
        for (size_t i = 0; i < schedule.n_stages; i++) {
            const struct pf_combine_options *combine = &schedule.stages[i].combine;
            assert_int_equal(combine->packer.packer, PF_PACKER_ITERATED);
            assert_true(combine->packer.effort == 0.125 && combine->tile_slack == 0.0625);
            assert_int_equal(combine->packer.seed, 77);
            assert_int_equal(combine->saliency, PF_SALIENCY_OUTPUT);
            assert_int_equal(combine->tile_columns, 24);
        }
    }
}

static void rising_alpha_ends_at_targets_that_are_no_power_of_two(void **state)
{
    (void)state;
    struct pf_schedule_options options = options_of(PF_STAGES_RISING_ALPHA);
    options.alpha[2] = 5;
    options.density_factor = 3.0;
    const struct pf_schedule schedule = plan(&options);
    assert_int_equal(schedule.n_stages, 3);
    assert_int_equal(schedule.stages[1].combine.alpha[2], 4);
    assert_int_equal(schedule.stages[2].combine.alpha[2], 5);
    assert_true(schedule.stages[0].combine.density[2] == 1.0);
    assert_true(schedule.stages[2].combine.density[2] == 3.0 / 5.0);
}

static void published_prunes_along_the_cubic_in_the_first_half(void **state)
{
    (void)state;
    struct pf_schedule_options options = options_of(PF_STAGES_PUBLISHED);
    options.rounds = 300;
    const struct pf_schedule schedule = plan(&options);
    assert_int_equal(schedule.n_stages, 10);
    double end = 0.0;
    for (size_t i = 0; i < 10; i++) {
        const struct pf_stage *stage = &schedule.stages[i];
        double remaining = 1.0 - (double)(i + 1) / 10.0;
        double rate = 0.8 * (1.0 - remaining * remaining * remaining);
        assert_true(fabs(stage->combine.density[1] - (1.0 - rate * 0.75)) < 1e-12);
        assert_true(fabs(stage->combine.density[2] - (1.0 - rate * 0.875)) < 1e-12);
        assert_false(stage->combine.keep_groups);
        assert_int_equal(stage->rounds, i < 9 ? 15 : 165);
        assert_true(stage->schedule_begin == end);
        end = stage->schedule_end;
        assert_true(fabs(end - stage->schedule_begin - stage->rounds / 300.0) < 1e-12);
    }
    assert_true(end == 1.0);
    assert_true(fabs(schedule.stages[9].combine.density[2] - 0.3) < 1e-12);
}

static void published_has_fewer_events_in_few_rounds(void **state)
{
    (void)state;
    struct pf_schedule_options options = options_of(PF_STAGES_PUBLISHED);
    for (uint32_t rounds = 1; rounds < 30; rounds++) {
        options.rounds = rounds;
        const struct pf_schedule schedule = plan(&options);
        assert_int_equal(schedule.n_stages, rounds < 2 ? 1 : PF_MIN(rounds / 2, 10u));
        const struct pf_stage *last = &schedule.stages[schedule.n_stages - 1];
        assert_true(fabs(last->combine.density[2] - 0.3) < 1e-12);
        assert_true(last->rounds >= rounds - rounds / 2);
        check_plan(&options);
    }
}

static void paper_shrinks_beta_until_the_target(void **state)
{
    (void)state;
    struct pf_schedule_options options = options_of(PF_STAGES_PAPER);
    options.beta = 0.5;
    options.target_density = 0.2;
    options.rounds = 23;
    const struct pf_schedule schedule = plan(&options);
    /* 0.5, · 0.55 = 0.275, · 0.595 = 0.163625 ≤ 0.2 */
    static const double densities[] = {0.5, 0.275, 0.163625};
    assert_int_equal(schedule.n_stages, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_true(fabs(schedule.stages[i].combine.density[1] - densities[i]) < 1e-12);
        assert_true(fabs(schedule.stages[i].combine.density[2] - densities[i]) < 1e-12);
        assert_true(schedule.stages[i].schedule_begin == 0.0);
        assert_true(schedule.stages[i].schedule_end == 1.0);
    }
    assert_int_equal(schedule.stages[0].rounds, 5);
    assert_int_equal(schedule.stages[1].rounds, 5);
    assert_int_equal(schedule.stages[2].rounds, 13); /* its 5, 5 of final training, 3 left over */
}

static void without_alpha_there_is_one_stage_that_combines_nothing(void **state)
{
    (void)state;
    for (int kind = PF_STAGES_RISING_ALPHA; kind <= PF_STAGES_PAPER; kind++) {
        struct pf_schedule_options options = options_of((enum pf_stage_schedule)kind);
        options.alpha[1] = options.alpha[2] = 1;
        options.rounds = 1;
        const struct pf_schedule schedule = plan(&options);
        assert_int_equal(schedule.n_stages, 1);
        assert_int_equal(schedule.stages[0].rounds, 1);
        assert_false(schedule.stages[0].combine.permute_rows);
        for (size_t b = 0; b < 3; b++) {
            assert_int_equal(schedule.stages[0].combine.alpha[b], 1);
            assert_true(schedule.stages[0].combine.density[b] == 1.0);
        }
    }
}

static void refuses_fewer_rounds_than_stages(void **state)
{
    (void)state;
    struct pf_schedule_options options = options_of(PF_STAGES_RISING_ALPHA);
    options.rounds = 2;
    expect_refusal(&options, "2 rounds for 3 rising-alpha stages");
    options.rounds = 3;
    check_plan(&options);
    options = options_of(PF_STAGES_PAPER);
    options.beta = 0.5;
    options.rounds = 2;
    expect_refusal(&options, "2 rounds for 3 paper stages");
    options.rounds = 3;
    check_plan(&options);
    options.rounds = 0;
    expect_refusal(&options, "at least one round");
}

static void refuses_a_beta_that_never_arrives(void **state)
{
    (void)state;
    struct pf_schedule_options options = options_of(PF_STAGES_PAPER);
    options.rounds = 1000;
    options.target_density = 0.1; /* Π (1 − 0.2 · 0.9^i) = 0.12 */
    expect_refusal(&options, "raise beta");
    options.target_density = 0.13;
    check_plan(&options);
}

static void refuses_options_that_cannot_be_meant(void **state)
{
    (void)state;
    struct pf_schedule_options options = options_of(PF_STAGES_RISING_ALPHA);
    options.n_blocks = 0;
    expect_refusal(&options, "0 blocks");
    options.n_blocks = PF_MAX_BLOCKS + 1;
    expect_refusal(&options, "9 blocks");
    options = options_of(PF_STAGES_RISING_ALPHA);
    options.alpha[1] = 0;
    expect_refusal(&options, "alpha = 0 of block 2");
    options.alpha[1] = 65;
    expect_refusal(&options, "alpha = 65 of block 2");
    options = options_of(PF_STAGES_RISING_ALPHA);
    options.gamma = NAN;
    expect_refusal(&options, "gamma");
    options = options_of(PF_STAGES_RISING_ALPHA);
    options.density_factor = -1.0;
    expect_refusal(&options, "density factor -1");
    options = options_of(PF_STAGES_PUBLISHED);
    options.n_events = 0;
    expect_refusal(&options, "0 events");
    options = options_of(PF_STAGES_PAPER);
    options.beta = 1.0;
    expect_refusal(&options, "beta = 1");
    options = options_of(PF_STAGES_PAPER);
    options.target_density = 1.5;
    expect_refusal(&options, "target density 1.5");
    options = options_of((enum pf_stage_schedule)17);
    expect_refusal(&options, "kind 17");
}

static void kinds_have_the_names_of_the_command_line(void **state)
{
    (void)state;
    assert_string_equal(pf_stage_schedule_name(PF_STAGES_RISING_ALPHA), "rising-alpha");
    assert_string_equal(pf_stage_schedule_name(PF_STAGES_PUBLISHED), "published");
    assert_string_equal(pf_stage_schedule_name(PF_STAGES_PAPER), "paper");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_plan_adds_up_and_only_gets_sparser),
        cmocka_unit_test(rising_alpha_doubles_up_to_the_target),
        cmocka_unit_test(rising_alpha_keeps_what_the_conflicts_allow),
        cmocka_unit_test(combining_at_once_does_what_the_last_stage_does),
        cmocka_unit_test(every_stage_packs_as_the_options_say),
        cmocka_unit_test(rising_alpha_ends_at_targets_that_are_no_power_of_two),
        cmocka_unit_test(published_prunes_along_the_cubic_in_the_first_half),
        cmocka_unit_test(published_has_fewer_events_in_few_rounds),
        cmocka_unit_test(paper_shrinks_beta_until_the_target),
        cmocka_unit_test(without_alpha_there_is_one_stage_that_combines_nothing),
        cmocka_unit_test(refuses_fewer_rounds_than_stages),
        cmocka_unit_test(refuses_a_beta_that_never_arrives),
        cmocka_unit_test(refuses_options_that_cannot_be_meant),
        cmocka_unit_test(kinds_have_the_names_of_the_command_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
