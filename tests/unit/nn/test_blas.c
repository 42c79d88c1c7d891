/* pf_blas_prepare, in processes of its own: this program called with --print tells what it found
 * after preparing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/nn/blas.h"

static const char *variable(const char *name)
{
    const char *value = getenv(name);
    return value != NULL ? value : "-";
}

/* Runs this program with `environment` in front and reads its line: threads, core type, marker,
 * kernels, number of arguments. */
static void print_with(const char *environment, char line[256])
{
    char self[200], command[512];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    assert_true(length > 0);
    self[length] = '\0';
    snprintf(command, sizeof command,
             "env -u OPENBLAS_NUM_THREADS -u OPENBLAS_CORETYPE %s '%s' --print 'two words'",
             environment, self);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    assert_non_null(fgets(line, 256, pipe));
    assert_int_equal(pclose(pipe), 0);
}

static void test_environment_is_set_once_and_the_marker_removed(void **state)
{
    (void)state;
    char line[256];
    print_with("", line);
    char threads[32], core[32], marker[32], kernels[32], n_arguments[8];
    assert_int_equal(
        sscanf(line, "%31s %31s %31s %31s %7s", threads, core, marker, kernels, n_arguments), 5);
    assert_string_equal(threads, "1");
    assert_string_equal(marker, "-");
    assert_string_equal(n_arguments, "3");
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
        assert_string_equal(kernels, "SkylakeX");
    else if (__builtin_cpu_supports("avx2"))
        assert_string_equal(kernels, "Haswell");
#endif
}

static void test_settings_of_the_user_stand(void **state)
{
    (void)state;
    char line[256];
    print_with("OPENBLAS_NUM_THREADS=3 OPENBLAS_CORETYPE=Prescott", line);
    assert_non_null(strstr(line, "3 Prescott - Prescott 3"));
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        pf_blas_prepare(argv);
        printf("%s %s %s %s %d\n", variable("OPENBLAS_NUM_THREADS"), variable("OPENBLAS_CORETYPE"),
               variable("PACKFED_BLAS_PREPARED"), pf_blas_kernels(), argc);
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_environment_is_set_once_and_the_marker_removed),
        cmocka_unit_test(test_settings_of_the_user_stand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
