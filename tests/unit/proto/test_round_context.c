/* What a secure round is bound to: all of the offer but its deadline, the run and the roster. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "message_helpers.h"
#include "proto/round_context.h"
#include "sample_messages.h"

/* The sample offer, its run, and a roster. */
struct basis {
    struct pf_message message; /* owned; ROUND_OFFER */
    uint8_t roster[32];
};

static void basis_init(struct basis *self)
{
    pf_sample_message(PF_MESSAGE_ROUND_OFFER, &self->message);
    for (size_t i = 0; i < sizeof self->roster; i++) self->roster[i] = (uint8_t)(i ^ 0x5a);
}

static void basis_finish(struct basis *self)
{
    pf_message_finish(&self->message);
}

static struct pf_digest context_of(const struct basis *self)
{
    return pf_round_context(&self->message.run_id, self->roster, &self->message.offer);
}

static bool differs(const struct basis *self, const struct pf_digest *from)
{
    struct pf_digest context = context_of(self);
    return memcmp(&context, from, sizeof context) != 0;
}

#define CHANGE(name, change)                            \
    static void change_##name(struct pf_round_offer *o) \
    {                                                   \
        change;                                         \
    }

CHANGE(round, o->round++)
CHANGE(n_rounds, o->n_rounds++)
CHANGE(stage, o->stage++)
CHANGE(n_stages, o->n_stages++)
CHANGE(cohort, o->cohort++)
CHANGE(model_hash, o->model_hash.bytes[31] ^= 1)
CHANGE(model_bytes, o->model_bytes++)
CHANGE(model_bytes_high, o->model_bytes += (uint64_t)1 << 32)
CHANGE(n_chunks, o->n_chunks++)
CHANGE(batch, o->order.batch++)
CHANGE(epochs, o->order.epochs += 1.0)
CHANGE(schedule, o->order.schedule--)
CHANGE(learning_rate, o->order.learning_rate *= 1.0 + 1e-15)
CHANGE(schedule_begin, o->order.schedule_begin += 0.125)
CHANGE(schedule_end, o->order.schedule_end += 0.125)
CHANGE(momentum, o->order.momentum = 0.0)
CHANGE(nesterov, o->order.nesterov = false)
CHANGE(weight_decay, o->order.weight_decay *= 2.0)
CHANGE(l1, o->order.l1 *= 2.0)
CHANGE(label_smoothing, o->order.label_smoothing *= 2.0)
CHANGE(proximal, o->order.proximal *= 2.0)
CHANGE(distill_weight, o->order.distill_weight *= 0.5)
CHANGE(distill_temperature, o->order.distill_temperature *= 2.0)
CHANGE(teacher_hash, o->teacher.hash.bytes[31] ^= 1)
CHANGE(teacher_bytes, o->teacher.n_bytes++)
CHANGE(teacher_chunks, o->teacher.n_chunks++)
CHANGE(teacher_for_model, struct pf_hash first = o->model_hash; o->model_hash = o->teacher.hash;
       o->teacher.hash = first)
CHANGE(value_bits, o->masking.value_bits++)
CHANGE(weight_cap, o->masking.weight_cap++)
CHANGE(clip_trained, o->masking.clip[0] *= 2.0)
CHANGE(clip_statistics, o->masking.clip[1] *= 2.0)
CHANGE(clips_swapped, double first = o->masking.clip[0]; o->masking.clip[0] = o->masking.clip[1];
       o->masking.clip[1] = first)
CHANGE(rotate, o->masking.rotate = false)

static void every_field_of_the_offer_changes_it(void **state)
{
    (void)state;
    static void (*const changes[])(struct pf_round_offer *) = {
        change_round,
        change_n_rounds,
        change_stage,
        change_n_stages,
        change_cohort,
        change_model_hash,
        change_model_bytes,
        change_n_chunks,
        change_model_bytes_high,
        change_batch,
        change_epochs,
        change_schedule,
        change_learning_rate,
        change_momentum,
        change_schedule_begin,
        change_schedule_end,
        change_nesterov,
        change_weight_decay,
        change_l1,
        change_proximal,
        change_label_smoothing,
        change_distill_weight,
        change_distill_temperature,
        change_teacher_hash,
        change_teacher_bytes,
        change_teacher_chunks,
        change_teacher_for_model,
        change_value_bits,
        change_weight_cap,
        change_clip_trained,
        change_clips_swapped,
        change_rotate,
        change_clip_statistics,
    };
    struct basis basis;
    basis_init(&basis);
    struct pf_digest seen[PF_ARRAY_LENGTH(changes) + 1];
    seen[0] = context_of(&basis);
    for (size_t i = 0; i < PF_ARRAY_LENGTH(changes); i++) {
        struct basis changed = basis; /* shares the hashes of chunks */
        changes[i](&changed.message.offer);
        for (size_t j = 0; j <= i; j++)
            if (!differs(&changed, &seen[j])) fail_msg("change %zu gives digest %zu", i, j);
        seen[i + 1] = context_of(&changed);
    }
    basis_finish(&basis);
}

static void run_and_roster_change_it(void **state)
{
    (void)state;
    struct basis basis;
    basis_init(&basis);
    struct pf_digest context = context_of(&basis);
    for (size_t i = 0; i < PF_RUN_ID_BYTES; i++) {
        basis.message.run_id.bytes[i] ^= 1;
        assert_true(differs(&basis, &context));
        basis.message.run_id.bytes[i] ^= 1;
    }
    for (size_t i = 0; i < sizeof basis.roster; i++) {
        basis.roster[i] ^= 0x80;
        assert_true(differs(&basis, &context));
        basis.roster[i] ^= 0x80;
    }
    assert_false(differs(&basis, &context));
    basis_finish(&basis);
}

/* An offer that is repeated has less time left; the chunks' hashes follow from the model's. */
static void deadline_and_chunk_hashes_do_not_change_it(void **state)
{
    (void)state;
    struct basis basis;
    basis_init(&basis);
    struct pf_digest context = context_of(&basis);
    basis.message.offer.deadline_ms -= 5000;
    assert_false(differs(&basis, &context));
    basis.message.offer.chunk_hashes[0].bytes[0] ^= 1;
    basis.message.offer.teacher.chunk_hashes[0].bytes[0] ^= 1;
    assert_false(differs(&basis, &context));
    basis_finish(&basis);
}

/* What is sent and what arrives give one context, even where proto3 drops the sign of a zero. */
static void it_survives_the_wire(void **state)
{
    (void)state;
    struct basis basis;
    basis_init(&basis);
    basis.message.offer.order.momentum = -0.0;
    struct pf_digest context = context_of(&basis);
    struct pf_buffer frame = encoded(&basis.message);
    struct basis received = basis;
    received.message = decoded(&frame);
    assert_false(differs(&received, &context));
    basis_finish(&received);
    basis_finish(&basis);
    pf_buffer_finish(&frame);
}

/* Computed with Python's struct and hashlib.blake2b(digest_size=32) from the form that
 * round_context.c describes. */
static void known_answers(void **state)
{
    (void)state;
    static const uint8_t expected_context[32] = {0x0e, 0x7f, 0x93, 0x88, 0x92, 0xb9, 0x76, 0xea,
                                                 0x3a, 0xe4, 0x71, 0x22, 0xb8, 0xe9, 0x2d, 0xcd,
                                                 0xd1, 0x33, 0x72, 0xdf, 0x99, 0x4f, 0x98, 0xdc,
                                                 0x6a, 0x16, 0x04, 0x24, 0x0f, 0x30, 0xee, 0x33};
    static const uint8_t expected_seed[32] = {0xb2, 0x83, 0x47, 0xe5, 0x7e, 0x06, 0x9d, 0x68,
                                              0x13, 0x7f, 0xb0, 0x88, 0x12, 0x67, 0xa0, 0xc1,
                                              0x9b, 0x51, 0xa3, 0xe5, 0xae, 0xb6, 0xa9, 0x08,
                                              0x15, 0x31, 0xa5, 0x5a, 0x8d, 0xd5, 0x4c, 0xe5};
    struct basis basis;
    basis_init(&basis);
    struct pf_digest context = context_of(&basis);
    assert_memory_equal(context.bytes, expected_context, 32);
    uint8_t seed[32];
    pf_round_rotation_seed(&basis.message.offer, seed);
    assert_memory_equal(seed, expected_seed, 32);
    basis_finish(&basis);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_of_the_offer_changes_it),
        cmocka_unit_test(run_and_roster_change_it),
        cmocka_unit_test(deadline_and_chunk_hashes_do_not_change_it),
        cmocka_unit_test(it_survives_the_wire),
        cmocka_unit_test(known_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
