#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/buffer.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "sim/federation/children.h"
#include "tests/testing.h"

static char folder[64];
static char log_path[96];
static char logged[1024];

static void keep_log(void *context, enum pf_log_level level, const char *text)
{
    (void)context;
    (void)level;
    strncat(logged, text, sizeof logged - strlen(logged) - 1);
}

static int set_up(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/packfed-children-XXXXXX");
    if (mkdtemp(folder) == NULL) return -1;
    snprintf(log_path, sizeof log_path, "%s/log", folder);
    logged[0] = '\0';
    pf_log_set_sink(keep_log, NULL, PF_LOG_INFO);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    (void)unlink(log_path);
    return rmdir(folder);
}

static struct pf_children *start(const char *script)
{
    struct pf_children *children = NULL;
    assert_int_equal(pf_children_create(1, &children, NULL), PF_OK);
    const char *argv[] = {"/bin/sh", "-c", script, NULL};
    assert_int_equal(pf_children_spawn(children, "p01", argv, log_path, NULL), PF_OK);
    return children;
}

static void test_output_goes_to_the_log(void **state)
{
    (void)state;
    struct pf_children *children = start("echo out; echo err >&2");
    assert_int_equal(pf_children_wait(children, 10000), 0);
    pf_children_destroy(children);
    struct pf_buffer bytes = {0};
    assert_int_equal(pf_file_read(log_path, 100, &bytes, NULL), PF_OK);
    assert_int_equal(bytes.length, 8);
    assert_memory_equal(bytes.bytes, "out\nerr\n", 8);
    pf_buffer_finish(&bytes);
    assert_string_equal(logged, "");
}

static void test_a_bad_end_is_reported_by_name(void **state)
{
    (void)state;
    struct pf_children *children = start("exit 3");
    assert_int_equal(pf_children_wait(children, 10000), 0);
    pf_children_destroy(children);
    assert_non_null(strstr(logged, "p01 ended with exit status 3"));
}

static void test_a_killed_child_is_reported_by_signal(void **state)
{
    (void)state;
    struct pf_children *children = start("kill -9 $$");
    assert_int_equal(pf_children_wait(children, 10000), 0);
    pf_children_destroy(children);
    assert_non_null(strstr(logged, "p01 was ended by signal 9"));
}

static void test_destroy_leaves_nobody_behind(void **state)
{
    (void)state;
    struct pf_children *children = start("trap '' TERM; echo $$; while :; do sleep 0.05; done");
    struct pf_buffer bytes = {0};
    for (int i = 0; i < 500 && bytes.length == 0; i++) {
        (void)pf_children_wait(children, 20);
        assert_int_equal(pf_file_read(log_path, 100, &bytes, NULL), PF_OK);
    }
    assert_int_equal(pf_buffer_append(&bytes, "", 1, NULL), PF_OK);
    char process[64];
    snprintf(process, sizeof process, "/proc/%d", atoi((const char *)bytes.bytes));
    assert_true(pf_file_exists(process));
    pf_children_destroy(children); /* it ignores SIGTERM */
    assert_false(pf_file_exists(process));
    pf_buffer_finish(&bytes);
}

static void test_no_room_is_refused(void **state)
{
    (void)state;
    struct pf_children *children = start("true");
    const char *argv[] = {"/bin/true", NULL};
    struct pf_error err;
    assert_int_equal(pf_children_spawn(children, "p02", argv, log_path, &err), PF_INVALID);
    assert_non_null(strstr(err.text, "p02"));
    pf_children_destroy(children);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_output_goes_to_the_log),
        TEST(test_a_bad_end_is_reported_by_name),
        TEST(test_a_killed_child_is_reported_by_signal),
        TEST(test_destroy_leaves_nobody_behind),
        TEST(test_no_room_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
