#include "scratch.h"

#include <assert.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];

int pf_scratch_setup(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/packfed-wire-XXXXXX");
    return mkdtemp(folder) == NULL;
}

int pf_scratch_teardown(void **state)
{
    (void)state;
    DIR *dir = opendir(folder);
    if (dir == NULL) return 1;
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir))
        if (entry->d_name[0] != '.') (void)unlink(pf_scratch(entry->d_name));
    closedir(dir);
    return rmdir(folder);
}

const char *pf_scratch(const char *name)
{
    static char paths[4][320];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

char *pf_scratch_read(const char *name, size_t *length)
{
    static char text[1 << 16];
    FILE *file = fopen(pf_scratch(name), "rb");
    assert(file != NULL);
    size_t n = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[n] = '\0';
    if (length != NULL) *length = n;
    return text;
}

void pf_scratch_write(const char *name, const void *bytes, size_t length, unsigned mode)
{
    (void)unlink(pf_scratch(name));
    FILE *file = fopen(pf_scratch(name), "wb");
    assert(file != NULL);
    size_t n = fwrite(bytes, 1, length, file);
    assert(n == length);
    (void)n;
    fclose(file);
    int changed = chmod(pf_scratch(name), mode);
    assert(changed == 0);
    (void)changed;
}
