#include "sim/federation/children.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"

#define STOP_GRACE_MS 2000
#define POLL_MS 10

struct child {
    char name[64];
    pid_t pid; /* 0: ended */
};

struct pf_children {
    size_t n;
    size_t capacity;
    struct child *items; /* [capacity] */
};

enum pf_status pf_children_create(size_t capacity, struct pf_children **children,
                                  struct pf_error *err)
{
    struct pf_children *self = PF_ALLOC(1, struct pf_children);
    if (self == NULL) return pf_no_memory(err, "the list of processes");
    self->capacity = capacity;
    self->items = PF_ALLOC(capacity, struct child);
    if (self->items == NULL) {
        pf_children_destroy(self);
        return pf_no_memory(err, "the list of processes");
    }
    *children = self;
    return PF_OK;
}

static void signal_all(const struct pf_children *self, int number)
{
    for (size_t i = 0; i < self->n; i++)
        if (self->items[i].pid > 0) kill(self->items[i].pid, number);
}

void pf_children_destroy(struct pf_children *self)
{
    if (self == NULL) return;
    if (self->items != NULL && pf_children_wait(self, 0) > 0) {
        signal_all(self, SIGTERM);
        if (pf_children_wait(self, STOP_GRACE_MS) > 0) {
            signal_all(self, SIGKILL);
            (void)pf_children_wait(self, STOP_GRACE_MS);
        }
    }
    pf_free(self->items);
    pf_free(self);
}

/* In the child, between fork and exec: async-signal-safe calls only. */
static void become(const char *const *argv, int log, int nothing, pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) _exit(127); /* it died before the line above */
    if (dup2(nothing, STDIN_FILENO) < 0 || dup2(log, STDOUT_FILENO) < 0 ||
        dup2(log, STDERR_FILENO) < 0)
        _exit(127);
    /* A Ctrl-C on the terminal is the launcher's to handle; it stops its children in order. */
    setpgid(0, 0);
    execv(argv[0], (char *const *)argv);
    _exit(127);
}

enum pf_status pf_children_spawn(struct pf_children *self, const char *name,
                                 const char *const *argv, const char *log_path,
                                 struct pf_error *err)
{
    if (self->n == self->capacity)
        return pf_fail(err, PF_INVALID, "%s: no room for more than %zu processes", name,
                       self->capacity);
    int log = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (log < 0) return pf_fail_errno(err, PF_IO, "%s: cannot open", log_path);
    int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    pid_t parent = getpid();
    pid_t pid = nothing >= 0 ? fork() : -1;
    if (pid == 0) become(argv, log, nothing, parent);
    enum pf_status status = PF_OK;
    if (pid < 0) status = pf_fail_errno(err, PF_IO, "%s: cannot start a process", name);
    close(log);
    if (nothing >= 0) close(nothing);
    if (status != PF_OK) return status;
    struct child *child = &self->items[self->n++];
    snprintf(child->name, sizeof child->name, "%s", name);
    child->pid = pid;
    return PF_OK;
}

static void report(const char *name, int status)
{
    if (WIFSIGNALED(status))
        pf_log(PF_LOG_WARNING, "%s was ended by signal %d (%s)", name, WTERMSIG(status),
               strsignal(WTERMSIG(status)));
    else if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
        pf_log(PF_LOG_WARNING, "%s ended with exit status %d; its log in the run folder says why",
               name, WEXITSTATUS(status));
}

void pf_children_reap(struct pf_children *self)
{
    for (size_t i = 0; i < self->n; i++) {
        struct child *child = &self->items[i];
        int status = 0;
        if (child->pid <= 0 || waitpid(child->pid, &status, WNOHANG) <= 0) continue;
        child->pid = 0;
        report(child->name, status);
    }
}

size_t pf_children_running(const struct pf_children *self)
{
    size_t n = 0;
    for (size_t i = 0; i < self->n; i++) n += self->items[i].pid > 0;
    return n;
}

size_t pf_children_wait(struct pf_children *self, int timeout_ms)
{
    int64_t deadline = pf_clock_monotonic_ms() + timeout_ms;
    for (;;) {
        pf_children_reap(self);
        size_t running = pf_children_running(self);
        if (running == 0 || pf_clock_monotonic_ms() >= deadline) return running;
        nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000L}, NULL);
    }
}
