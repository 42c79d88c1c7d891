/* Whole files: read within a limit; after a failed write the old file is untouched. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>

#include "tests/unit/base/scratch.h"

static int set_up(void **state)
{
    static struct scratch scratch;
    scratch_create(&scratch);
    *state = &scratch;
    return 0;
}

static int tear_down(void **state)
{
    scratch_destroy(*state);
    return 0;
}

static size_t n_entries(const struct scratch *scratch)
{
    DIR *dir = opendir(scratch->folder);
    assert_non_null(dir);
    size_t n = 0;
    while (readdir(dir) != NULL) n++;
    closedir(dir);
    return n - 2; /* . and .. */
}

static void assert_content(const char *path, const char *expected)
{
    PF_CLEANUP(pf_buffer_finish) struct pf_buffer bytes = {0};
    assert_int_equal(pf_file_read(path, 1 << 20, &bytes, NULL), PF_OK);
    assert_int_equal(bytes.length, strlen(expected));
    if (bytes.length > 0) assert_memory_equal(bytes.bytes, expected, bytes.length);
}

static void what_is_written_is_read_back(void **state)
{
    struct scratch *scratch = *state;
    const char *path = scratch_path(scratch, "model.pf");
    assert_false(pf_file_exists(path));
    assert_int_equal(pf_file_write(path, "first", 5, 0640, NULL), PF_OK);
    assert_true(pf_file_exists(path));
    assert_content(path, "first");
    assert_int_equal(pf_file_write(path, "second, longer", 14, 0600, NULL), PF_OK);
    assert_content(path, "second, longer");
    assert_int_equal(pf_file_write(path, NULL, 0, 0600, NULL), PF_OK);
    assert_content(path, "");
    assert_int_equal(n_entries(scratch), 1); /* no temporary file is left */
}

static void permissions_are_those_asked_for(void **state)
{
    struct scratch *scratch = *state;
    const char *path = scratch_path(scratch, "key");
    static const mode_t modes[] = {0600, 0644, 0400};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(modes); i++) {
        struct stat st;
        assert_int_equal(pf_file_write(path, "secret", 6, modes[i], NULL), PF_OK);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 07777, modes[i]);
    }
}

static void reading_appends_and_keeps_to_the_limit(void **state)
{
    struct scratch *scratch = *state;
    PF_CLEANUP(pf_buffer_finish) struct pf_buffer bytes = {0};
    struct pf_error err;
    static uint8_t content[200000];
    for (size_t i = 0; i < sizeof content; i++) content[i] = (uint8_t)(i * 31 >> 3);
    scratch_write(scratch, "large", content, sizeof content);
    assert_int_equal(pf_buffer_append(&bytes, "head", 4, NULL), PF_OK);
    assert_int_equal(pf_file_read(scratch->path, sizeof content - 1, &bytes, &err), PF_CORRUPT);
    assert_non_null(strstr(err.text, "large: larger than 199999 bytes"));
    assert_int_equal(bytes.length, 4);
    assert_memory_equal(bytes.bytes, "head", 4);
    assert_int_equal(pf_file_read(scratch->path, sizeof content, &bytes, &err), PF_OK);
    assert_int_equal(bytes.length, 4 + sizeof content);
    assert_memory_equal(bytes.bytes, "head", 4);
    assert_memory_equal(bytes.bytes + 4, content, sizeof content);
}

static void an_endless_file_stops_at_the_limit(void **state)
{
    (void)state;
    PF_CLEANUP(pf_buffer_finish) struct pf_buffer bytes = {0};
    assert_int_equal(pf_file_read("/dev/zero", 1000000, &bytes, NULL), PF_CORRUPT);
    assert_int_equal(bytes.length, 0);
    assert_true(bytes.capacity < 4000000);
}

static void missing_files_and_folders_are_named(void **state)
{
    struct scratch *scratch = *state;
    PF_CLEANUP(pf_buffer_finish) struct pf_buffer bytes = {0};
    struct pf_error err;
    const char *path = scratch_path(scratch, "absent");
    assert_int_equal(pf_file_read(path, 10, &bytes, &err), PF_NOT_FOUND);
    assert_non_null(strstr(err.text, "absent: cannot open: No such file"));
    assert_int_equal(pf_file_read(scratch->folder, 10, &bytes, &err), PF_IO);
    path = scratch_path(scratch, "absent/model.pf");
    assert_int_equal(pf_file_write(path, "x", 1, 0600, &err), PF_IO);
    assert_non_null(strstr(err.text, "absent/model.pf: cannot create: No such file"));
    assert_int_equal(n_entries(scratch), 0);
}

static void an_unwritable_folder_is_named_and_untouched(void **state)
{
    struct scratch *scratch = *state;
    struct pf_error err = {0};
    const char *path = scratch_path(scratch, "model.pf");
    scratch_write(scratch, "model.pf", "old", 3);
    assert_int_equal(chmod(scratch->folder, 0555), 0);
    bool root = geteuid() == 0; /* to root every folder is writable */
    if (root) assert_int_equal(seteuid(65534), 0);
    enum pf_status status = pf_file_write(path, "new", 3, 0600, &err);
    if (root) assert_int_equal(seteuid(0), 0);
    assert_int_equal(chmod(scratch->folder, 0755), 0);
    assert_int_equal(status, PF_IO);
    assert_non_null(strstr(err.text, "model.pf: cannot create: Permission denied"));
    assert_content(path, "old");
    assert_int_equal(n_entries(scratch), 1);
}

static void a_failed_write_leaves_the_old_file(void **state)
{
    struct scratch *scratch = *state;
    struct pf_error err = {0};
    static uint8_t large[100000];
    const char *path = scratch_path(scratch, "model.pf");
    scratch_write(scratch, "model.pf", "old", 3);
    /* A file-size limit behaves as a full disk does: the write stops half-way. */
    struct rlimit before, limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = before;
    limit.rlim_cur = 5000;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    enum pf_status status = pf_file_write(path, large, sizeof large, 0600, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(status, PF_IO);
    assert_non_null(strstr(err.text, "model.pf: cannot write: File too large"));
    assert_content(path, "old");
    assert_int_equal(n_entries(scratch), 1);
}

static void a_folder_in_the_way_is_not_replaced(void **state)
{
    struct scratch *scratch = *state;
    struct pf_error err = {0};
    assert_int_equal(pf_folder_create(scratch_path(scratch, "run"), NULL), PF_OK);
    assert_int_equal(pf_file_write(scratch->path, "x", 1, 0600, &err), PF_IO);
    assert_non_null(strstr(err.text, "run: cannot replace"));
    assert_int_equal(n_entries(scratch), 1);
}

struct race {
    const char *path;
    atomic_bool stop;
};

static void *keep_writing(void *argument)
{
    struct race *race = argument;
    char content[2][20000];
    memset(content[0], 'a', sizeof content[0]);
    memset(content[1], 'b', sizeof content[1]);
    for (int i = 0; !atomic_load(&race->stop); i++)
        if (pf_file_write(race->path, content[i % 2], sizeof content[0], 0600, NULL) != PF_OK)
            return race;
    return NULL;
}

static void a_reader_sees_the_old_file_or_the_new(void **state)
{
    struct scratch *scratch = *state;
    struct race race = {.path = scratch_path(scratch, "checkpoint")};
    assert_int_equal(pf_file_write(race.path, "a", 1, 0600, NULL), PF_OK);
    pthread_t writer;
    assert_int_equal(pthread_create(&writer, NULL, keep_writing, &race), 0);
    int torn = 0;
    for (int i = 0; i < 200; i++) {
        PF_CLEANUP(pf_buffer_finish) struct pf_buffer bytes = {0};
        torn += pf_file_read(race.path, 1 << 20, &bytes, NULL) != PF_OK ||
                (bytes.length != 20000 && bytes.length != 1);
        for (size_t j = 1; j < bytes.length; j++) torn += bytes.bytes[j] != bytes.bytes[0];
    }
    atomic_store(&race.stop, true);
    void *failed = NULL;
    pthread_join(writer, &failed);
    assert_null(failed);
    assert_int_equal(torn, 0);
}

static void folders_are_made_with_their_parents(void **state)
{
    struct scratch *scratch = *state;
    static const char *const names[] = {"a", "a/b/c", "a/b/c", "d//e/", "a/b/c/../f"};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(names); i++) {
        struct stat st;
        assert_int_equal(pf_folder_create(scratch_path(scratch, names[i]), NULL), PF_OK);
        assert_int_equal(stat(scratch->path, &st), 0);
        assert_true(S_ISDIR(st.st_mode));
    }
}

static void impossible_folders_are_refused(void **state)
{
    struct scratch *scratch = *state;
    struct pf_error err;
    char endless[2 * PATH_MAX];
    scratch_write(scratch, "file", "x", 1);
    assert_int_equal(pf_folder_create(scratch_path(scratch, "file"), &err), PF_IO);
    assert_non_null(strstr(err.text, "file: exists and is not a folder"));
    assert_int_equal(pf_folder_create(scratch_path(scratch, "file/below"), &err), PF_IO);
    assert_int_equal(pf_folder_create("", &err), PF_INVALID);
    memset(endless, 'x', sizeof endless);
    endless[sizeof endless - 1] = '\0';
    assert_int_equal(pf_folder_create(endless, &err), PF_INVALID);
    assert_int_equal(pf_file_write(endless, "x", 1, 0600, &err), PF_INVALID);
}

static void paths_are_joined_when_they_fit(void **state)
{
    (void)state;
    char out[8];
    struct pf_error err;
    assert_int_equal(pf_path_join("abc", "def", out, sizeof out, &err), PF_OK);
    assert_string_equal(out, "abc/def");
    assert_int_equal(pf_path_join("abc", "defg", out, sizeof out, &err), PF_INVALID);
    assert_string_equal(err.text, "abc/defg: path too long");
}

int main(void)
{
#define CASE(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(what_is_written_is_read_back),
        CASE(permissions_are_those_asked_for),
        CASE(reading_appends_and_keeps_to_the_limit),
        CASE(an_endless_file_stops_at_the_limit),
        CASE(missing_files_and_folders_are_named),
        CASE(an_unwritable_folder_is_named_and_untouched),
        CASE(a_failed_write_leaves_the_old_file),
        CASE(a_folder_in_the_way_is_not_replaced),
        CASE(a_reader_sees_the_old_file_or_the_new),
        CASE(folders_are_made_with_their_parents),
        CASE(impossible_folders_are_refused),
        CASE(paths_are_joined_when_they_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
