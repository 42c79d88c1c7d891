/* Sentences, status names, log lines and progress: what a person or a program is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/error.h"
#include "common/base/log.h"
#include "common/base/progress.h"

static void failing_records_status_and_sentence(void **state)
{
    (void)state;
    struct pf_error err = {0};
    assert_int_equal(pf_fail(&err, PF_REFUSED, "%s: %d", "roster.pf", 7), PF_REFUSED);
    assert_int_equal(err.status, PF_REFUSED);
    assert_string_equal(err.text, "roster.pf: 7");
    assert_int_equal(pf_fail(NULL, PF_CORRUPT, "nobody reads this"), PF_CORRUPT);
    assert_int_equal(pf_no_memory(&err, "a model"), PF_NO_MEMORY);
    assert_string_equal(err.text, "no memory for a model");
}

static void the_systems_reason_stands_behind_the_sentence(void **state)
{
    (void)state;
    struct pf_error err = {0};
    errno = ENOSPC;
    assert_int_equal(pf_fail_errno(&err, PF_IO, "run.db: cannot write"), PF_IO);
    assert_string_equal(err.text, "run.db: cannot write: No space left on device");
    errno = ENOSPC;
    assert_int_equal(pf_fail_errno(NULL, PF_IO, "nobody reads this"), PF_IO);
}

static void a_sentence_may_quote_the_one_before(void **state)
{
    (void)state;
    struct pf_error err = {0};
    assert_int_equal(pf_fail(&err, PF_IO, "cause"), PF_IO);
    assert_int_equal(pf_fail(&err, PF_IO, "round 3: %s", err.text), PF_IO);
    assert_string_equal(err.text, "round 3: cause");
}

static void long_sentences_are_cut_not_overrun(void **state)
{
    (void)state;
    struct {
        struct pf_error err;
        uint8_t guard[64];
    } box;
    memset(&box, 0x5A, sizeof box);
    char text[2000];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    errno = ENOENT;
    assert_int_equal(pf_fail_errno(&box.err, PF_IO, "%s", text), PF_IO);
    assert_int_equal(strlen(box.err.text), sizeof box.err.text - 1);
    for (size_t i = 0; i < sizeof box.guard; i++) assert_int_equal(box.guard[i], 0x5A);
}

static enum pf_status forward(enum pf_status status, bool *went_on)
{
    PF_TRY(status);
    *went_on = true;
    return PF_OK;
}

static void try_forwards_a_failure_and_only_that(void **state)
{
    (void)state;
    bool went_on = false;
    assert_int_equal(forward(PF_TIMEOUT, &went_on), PF_TIMEOUT);
    assert_false(went_on);
    assert_int_equal(forward(PF_OK, &went_on), PF_OK);
    assert_true(went_on);
}

static void every_status_has_a_name_of_its_own(void **state)
{
    (void)state;
    for (int a = PF_OK; a <= PF_INTERRUPTED; a++) {
        assert_string_not_equal(pf_status_name((enum pf_status)a), "unknown");
        for (int b = PF_OK; b < a; b++)
            assert_string_not_equal(pf_status_name((enum pf_status)a),
                                    pf_status_name((enum pf_status)b));
    }
    assert_string_equal(pf_status_name((enum pf_status)99), "unknown");
    assert_string_equal(pf_status_name((enum pf_status) - 1), "unknown");
}

struct captured {
    int n_lines;
    enum pf_log_level level;
    char text[2000];
};

static void capture(void *context, enum pf_log_level level, const char *text)
{
    struct captured *self = context;
    self->n_lines++;
    self->level = level;
    snprintf(self->text, sizeof self->text, "%s", text);
}

static void the_log_drops_what_is_above_its_level(void **state)
{
    (void)state;
    struct captured captured = {0};
    pf_log(PF_LOG_ERROR, "nobody listens");
    pf_log_set_sink(capture, &captured, PF_LOG_INFO);
    pf_log(PF_LOG_DEBUG, "not this");
    assert_int_equal(captured.n_lines, 0);
    pf_log(PF_LOG_INFO, "round %d", 3);
    assert_int_equal(captured.n_lines, 1);
    assert_int_equal(captured.level, PF_LOG_INFO);
    assert_string_equal(captured.text, "round 3");
    pf_log(PF_LOG_ERROR, "%01500d", 0);
    assert_int_equal(strlen(captured.text), 1023);
    pf_log_set_sink(NULL, NULL, PF_LOG_DEBUG);
    pf_log(PF_LOG_ERROR, "nobody listens");
    assert_int_equal(captured.n_lines, 2);
    assert_string_equal(pf_log_level_name(PF_LOG_WARNING), "warning");
    assert_string_equal(pf_log_level_name((enum pf_log_level)9), "?");
}

static void count_updates(void *context, const char *what, size_t done, size_t total,
                          const char *detail)
{
    assert_string_equal(what, "pretraining");
    assert_int_equal(done, 2);
    assert_int_equal(total, 5);
    assert_string_equal(detail, "loss 1.2");
    (*(int *)context)++;
}

static void progress_may_be_absent_in_part_or_whole(void **state)
{
    (void)state;
    int n = 0;
    atomic_bool stop = false;
    struct pf_progress progress = {count_updates, &n, &stop};
    pf_progress_update(&progress, "pretraining", 2, 5, "loss 1.2");
    assert_int_equal(n, 1);
    assert_false(pf_progress_stopped(&progress));
    atomic_store(&stop, true);
    assert_true(pf_progress_stopped(&progress));
    struct pf_progress silent = {0};
    pf_progress_update(&silent, "pretraining", 2, 5, "");
    pf_progress_update(NULL, "pretraining", 2, 5, "");
    assert_false(pf_progress_stopped(&silent));
    assert_false(pf_progress_stopped(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failing_records_status_and_sentence),
        cmocka_unit_test(the_systems_reason_stands_behind_the_sentence),
        cmocka_unit_test(a_sentence_may_quote_the_one_before),
        cmocka_unit_test(long_sentences_are_cut_not_overrun),
        cmocka_unit_test(try_forwards_a_failure_and_only_that),
        cmocka_unit_test(every_status_has_a_name_of_its_own),
        cmocka_unit_test(the_log_drops_what_is_above_its_level),
        cmocka_unit_test(progress_may_be_absent_in_part_or_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
