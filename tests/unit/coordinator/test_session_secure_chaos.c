/* Secure rounds whose members lose messages, repeat themselves, restart, decline and fall silent,
 * from a seed: whatever they do, the run ends in bounded time, and what is applied is exactly the
 * weighted mean of those that are counted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/random.h"
#include "proto/model_file.h"
#include "secure_fixture.h"

#define N_RUNS 100
#define PATIENCE_MS 600000

struct chaos {
    struct secure_fixture *sx;
    struct pf_random random;
    uint32_t malice;         /* 0 … 9: how often the members of this run do what breaks a round */
    bool counted[N_MEMBERS]; /* in the current round */
    uint32_t round;
    size_t n_means; /* that were checked */
};

static uint32_t draw(struct chaos *self, uint32_t bound)
{
    return pf_random_below(&self->random, bound);
}

/* A message that is refused and drops nobody must leave the state as it was. */
static void forge(struct chaos *self, size_t member)
{
    static const enum pf_message_kind kinds[] = {PF_MESSAGE_ADVERTISE, PF_MESSAGE_REVEAL,
                                                 PF_MESSAGE_SHARES, PF_MESSAGE_CONSENT,
                                                 PF_MESSAGE_UNMASK};
    struct fixture *fx = self->sx->fx;
    struct pf_message message = {.kind = kinds[draw(self, PF_ARRAY_LENGTH(kinds))],
                                 .run_id = fx->config.run_id};
    message.advertise.round = fx->session->round; /* every one begins with it */
    if (message.kind == PF_MESSAGE_ADVERTISE) message.advertise.advert.member = draw(self, 5);
    if (message.kind == PF_MESSAGE_CONSENT) message.consent.consent.member = draw(self, 5);
    struct pf_hash before = fx_digest(fx);
    size_t refusals = fx->asked.sent[member][PF_MESSAGE_REFUSAL];
    fx_receive(fx, member, &message);
    if (fx->asked.sent[member][PF_MESSAGE_REFUSAL] == refusals) return;
    struct pf_hash after = fx_digest(fx);
    assert_memory_equal(&before, &after, sizeof before);
}

static void break_something(struct chaos *self, size_t member)
{
    struct fixture *fx = self->sx->fx;
    switch (draw(self, 6)) {
    case 0: sx_lose(self->sx, member); break;
    case 1: sx_restart(self->sx, member); break;
    case 2: fx_decline(fx, member, fx->session->round, "no"); break;
    case 3: forge(self, member); break;
    case 4: fx_tick(fx, draw(self, LIVENESS_MS)); break;
    default: fx_hello_again(fx, member, true); break;
    }
}

/* The worker's part, and that the sum is that of the counted. */
static void finish_job(struct chaos *self)
{
    struct secure_fixture *sx = self->sx;
    if (sx->fx->session->phase == PF_COORDINATOR_COMBINING) {
        fx_job_done(sx->fx, 50);
        return;
    }
    double sum = 0, weight = 0;
    uint32_t n = 0;
    for (size_t i = 0; i < N_MEMBERS; i++) {
        if (sx->fx->session->members[i].part != PF_PART_COUNTED) continue;
        sum += 10.0 * (double)(i + 1) * (double)(i + 1);
        weight += 10.0 * (double)(i + 1);
        n++;
    }
    assert_int_equal(sx->fx->asked.unmasking->n_survivors, n);
    assert_true(n >= sx->fx->config.quorum);
    sx_apply(sx);
    assert_int_equal(sx->figures[PF_FIGURE_EXAMPLES], (uint64_t)weight);
    assert_int_equal(sx->fx->asked.record.included, n);
    for (size_t i = 0; i < sx->fx->n_parameters; i++)
        assert_true(fabs(sx->mean[i] - sum / weight) < 0.05);
    self->n_means++;
}

static void act(struct chaos *self)
{
    struct fixture *fx = self->sx->fx;
    size_t member = draw(self, N_MEMBERS);
    enum pf_coordinator_phase phase = fx->session->phase;
    if (phase == PF_COORDINATOR_COMBINING || phase == PF_COORDINATOR_APPLYING) finish_job(self);
    if (draw(self, 150) < self->malice) {
        break_something(self, member);
        return;
    }
    switch (draw(self, 8)) {
    case 0: fx_alive(fx, member, 0); break;
    case 1: fx_tick(fx, draw(self, 60)); break;
    case 2:
        if (!fx->session->members[member].welcomed) fx_hello(fx, member);
        break;
    case 3:
        if (self->sx->players[member].client != NULL) sx_repeat_advertise(self->sx, member);
        break;
    default: (void)sx_step(self->sx, member); break;
    }
}

/* Counted is counted, until the round is over. */
static void check(struct chaos *self)
{
    const struct pf_coordinator_session *session = self->sx->fx->session;
    if (session->round != self->round) memset(self->counted, 0, sizeof self->counted);
    self->round = session->round;
    bool open =
        session->phase >= PF_COORDINATOR_ADVERTISING && session->phase <= PF_COORDINATOR_APPLYING;
    for (size_t i = 0; i < N_MEMBERS; i++) {
        const struct pf_member *member = &session->members[i];
        if (open && self->counted[i]) assert_int_equal(member->part, PF_PART_COUNTED);
        self->counted[i] = member->part == PF_PART_COUNTED;
        assert_null(member->update); /* one chunk: no memory */
    }
    assert_true((session->secagg != NULL) == pf_cs_in_round(session) || pf_cs_ended(session));
    assert_null(session->sum);
    assert_true(self->sx->fx->asked.n_finish == (pf_cs_ended(session) ? 1 : 0));
}

/* As fx_run_silent, with the worker's part. */
static void run_silent(struct chaos *self)
{
    struct fixture *fx = self->sx->fx;
    int64_t begin = fx->now;
    size_t n_ticks = 0;
    for (size_t i = 0; i < N_MEMBERS; i++) self->sx->players[i].deaf = true;
    while (!pf_cs_ended(fx->session)) {
        enum pf_coordinator_phase phase = fx->session->phase;
        if (phase == PF_COORDINATOR_COMBINING || phase == PF_COORDINATOR_APPLYING) finish_job(self);
        if (pf_cs_ended(fx->session)) break;
        fx_tick(fx, PF_MAX(pf_coordinator_session_wake_ms(fx->session) - fx->now, 0));
        assert_true(++n_ticks < 10000); /* it does not spin */
        check(self);
    }
    assert_true(fx->now - begin < PATIENCE_MS);
}

static bool run_once(uint64_t seed, size_t *n_means)
{
    struct chaos self = {0};
    pf_random_init(&self.random, seed, "secure chaos", 0);
    struct pf_coordinator_session_config config =
        draw(&self, 3) == 0 ? sx_ring_config() : sx_config();
    self.malice = draw(&self, 10);
    config.fixed_clip = true;
    config.max_failed_rounds = 4;
    self.sx = sx_create(&config, SX_SMALL);
    self.sx->tolerant = true;
    for (int step = 0; step < 3000 && !pf_cs_ended(self.sx->fx->session); step++) {
        act(&self);
        check(&self);
    }
    run_silent(&self);
    bool success = self.sx->fx->asked.success;
    assert_true(!success || self.sx->fx->session->completed == 4);
    *n_means += self.n_means;
    sx_destroy(self.sx);
    return success;
}

static void test_chaos(void **state)
{
    (void)state;
    const char *given = getenv("PF_SEED");
    uint64_t first = given != NULL ? strtoull(given, NULL, 10) : 1;
    size_t successes = 0, n_means = 0;
    for (uint64_t seed = first; seed < first + N_RUNS; seed++) {
        print_message("seed %llu (PF_SEED)\r", (unsigned long long)seed);
        successes += run_once(seed, &n_means);
    }
    print_message("%zu of %d runs came to their end, %zu sums were right\n", successes, N_RUNS,
                  n_means);
    /* Both endings are met, or the test would not say much. */
    assert_true(successes > 0 && successes < N_RUNS && n_means > N_RUNS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_chaos)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
