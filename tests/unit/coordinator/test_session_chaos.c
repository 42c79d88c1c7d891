/* Members that say anything at any time, from a seed: whatever they do, the run ends in bounded
 * time, each update is counted once, and a refusal changes nothing. */
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
#include "session_fixture.h"

#define N_RUNS 150
#define PATIENCE_MS 600000

struct chaos {
    struct fixture *fx;
    struct pf_random random;
    uint32_t malice; /* 0 … 9: how often the members of this run do what breaks a round */
};

static uint32_t draw(struct chaos *self, uint32_t bound)
{
    return pf_random_below(&self->random, bound);
}

/* Breaks one thing about a chunk. */
static void tamper(struct chaos *self, struct pf_chunk *chunk)
{
    const uint8_t infinite[4] = {0, 0, 0x80, 0x7f};
    switch (draw(self, 7)) {
    case 0: chunk->round += draw(self, 3); break;
    case 1: chunk->round = 0; break;
    case 2: chunk->model_hash.bytes[draw(self, 32)] ^= 1; break;
    case 3: chunk->n_chunks = draw(self, UINT32_MAX); break;
    case 4: chunk->chunk = draw(self, UINT32_MAX); break;
    case 5: chunk->length = 1 + draw(self, (uint32_t)chunk->length); break;
    default: memcpy(chunk->bytes + 24, infinite, sizeof infinite); break;
    }
}

/* A message that is refused and drops nobody must leave the state as it was. */
static void receive(struct chaos *self, size_t member, const struct pf_message *message)
{
    struct fixture *fx = self->fx;
    struct pf_hash before = fx_digest(fx);
    size_t refusals = fx->asked.sent[member][PF_MESSAGE_REFUSAL], events = fx->asked.n_events;
    fx_receive(fx, member, message);
    if (fx->asked.sent[member][PF_MESSAGE_REFUSAL] == refusals) return;
    if (fx->asked.n_events != events) return; /* an invalid update drops its sender */
    struct pf_hash after = fx_digest(fx);
    assert_memory_equal(&before, &after, sizeof before);
}

static void send_chunk(struct chaos *self, size_t member, bool good)
{
    uint32_t round = self->fx->session->round;
    struct pf_message message = fx_chunk_message(self->fx, round, 0, (float)member);
    if (!good) tamper(self, &message.chunk);
    receive(self, member, &message);
    pf_message_finish(&message);
}

static void act(struct chaos *self)
{
    struct fixture *fx = self->fx;
    size_t member = draw(self, N_MEMBERS);
    enum pf_coordinator_phase phase = fx->session->phase;
    bool malicious = draw(self, 10) < self->malice;
    switch (draw(self, 12)) {
    case 0: fx_hello_again(fx, member, !malicious); break;
    case 1:
    case 2:
    case 3: fx_alive(fx, member, fx->session->round * draw(self, 2)); break;
    case 4: fx_request(fx, member, draw(self, 3)); break;
    case 5: send_chunk(self, member, !malicious); break;
    case 6:
    case 7: send_chunk(self, member, true); break;
    case 8:
        if (malicious) fx_decline(fx, member, fx->session->round, "no");
        break;
    case 9: fx_tick(fx, draw(self, 200 + 300 * self->malice)); break;
    case 10:
        if (phase == PF_COORDINATOR_COMBINING || phase == PF_COORDINATOR_APPLYING)
            fx_job_done(fx, 50);
        break;
    default: {
        struct pf_message message = {.kind = (enum pf_message_kind)draw(self, PF_MESSAGE_N_KINDS),
                                     .run_id = {{(uint8_t)draw(self, 2) * 7}}};
        if (message.kind != PF_MESSAGE_UPDATE_CHUNK) receive(self, member, &message);
    }
    }
}

static void check(const struct chaos *self)
{
    const struct fixture *fx = self->fx;
    const struct pf_coordinator_session *session = fx->session;
    size_t counted = pf_cs_count(session, PF_CLASS_COUNTED);
    if (session->sum != NULL) assert_int_equal(pf_sum_count(session->sum), counted);
    if (session->phase == PF_COORDINATOR_APPLYING) {
        assert_int_equal(pf_sum_count(fx->asked.sum), counted);
        assert_true(counted >= fx->config.quorum);
    }
    assert_true(counted <= session->record.cohort);
    assert_int_equal(session->round, session->completed + session->abandoned +
                                         (session->phase == PF_COORDINATOR_COLLECTING ||
                                          session->phase == PF_COORDINATOR_APPLYING));
    assert_true(fx->asked.n_finish == (pf_cs_ended(session) ? 1 : 0));
    for (size_t i = 0; i < N_MEMBERS; i++) {
        const struct pf_member *member = &session->members[i];
        if (!pf_cs_pending(session, i) || session->phase != PF_COORDINATOR_COLLECTING)
            assert_null(member->update);
    }
}

static bool run_once(uint64_t seed)
{
    struct pf_coordinator_session_config config = fx_config();
    struct chaos self = {0};
    pf_random_init(&self.random, seed, "chaos", 0);
    self.malice = draw(&self, 10);
    config.quorum = 1 + draw(&self, 3);
    config.max_failed_rounds = draw(&self, 3);
    self.fx = fx_create(&config);
    self.fx->n_parameters = 10;
    int64_t begin = self.fx->now;
    for (int step = 0; step < 2000 && !pf_cs_ended(self.fx->session); step++) {
        act(&self);
        check(&self);
    }
    /* Then they fall silent, and that ends it if nothing else did. */
    fx_run_silent(self.fx, PATIENCE_MS);
    check(&self);
    assert_true(pf_cs_ended(self.fx->session));
    assert_true(self.fx->now - begin < PATIENCE_MS);
    bool success = self.fx->asked.success;
    assert_true(!success || self.fx->session->completed == 4);
    fx_destroy(self.fx);
    return success;
}

static void test_chaos(void **state)
{
    (void)state;
    const char *given = getenv("PF_SEED");
    uint64_t first = given != NULL ? strtoull(given, NULL, 10) : 1;
    size_t successes = 0;
    for (uint64_t seed = first; seed < first + N_RUNS; seed++) {
        print_message("seed %llu (PF_SEED)\r", (unsigned long long)seed);
        successes += run_once(seed);
    }
    print_message("%zu of %d runs came to their end          \n", successes, N_RUNS);
    /* Both endings are met, or the test would not say much. */
    assert_true(successes > 0 && successes < N_RUNS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_chaos)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
