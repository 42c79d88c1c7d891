#include "secure_session.h"

#include <stdarg.h>
#include <stddef.h>

#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "common/base/memory.h"

static const struct pf_network small = {.block_kind = PF_LAYER_SHIFT,
                                        .n_blocks = 1,
                                        .filters = {16},
                                        .layers = {1},
                                        .strides = {1},
                                        .in_channels = 1,
                                        .in_height = 4,
                                        .in_width = 4,
                                        .n_classes = 3};

static struct pf_roster *roster;
static uint8_t sign_secret[64];
static void (*further_change)(struct pf_participant_session_config *);

static void make_secure(struct pf_participant_session_config *config)
{
    config->policy.allow_plain = false;
    config->roster = roster;
    config->self = SECURE_SELF;
    config->sign_secret = sign_secret;
    config->rounding_seed = 77;
    if (further_change != NULL) further_change(config);
}

void play_init(struct secure_play *self, bool large,
               void (*change)(struct pf_participant_session_config *))
{
    memset(self, 0, sizeof *self);
    mini_roster(SECURE_MEMBERS, &roster);
    mini_sign_secret(SECURE_SELF, sign_secret);
    further_change = change;
    fixture_init(&self->f, make_secure);
    if (large) return;
    self->f.network = small;
    serve_model(&self->f.model, &self->f.network, 1);
}

void play_finish(struct secure_play *self)
{
    fixture_finish(&self->f);
    mini_finish(&self->round);
    pf_buffer_finish(&self->frames);
    pf_roster_destroy(roster);
    roster = NULL;
}

static void keep_frames(struct secure_play *self)
{
    for (size_t i = 0; i < self->f.n_sent; i++) {
        struct pf_error err = {0};
        enum pf_status status = pf_message_encode(&self->f.sent[i], &self->frames, &err);
        if (status != PF_OK) print_error("%s\n", err.text);
        assert_int_equal(status, PF_OK);
    }
}

bool play_give(struct secure_play *self, const struct pf_message *message)
{
    bool accepted = give(&self->f, message);
    keep_frames(self);
    return accepted;
}

const struct pf_message *play_said(const struct secure_play *self, enum pf_message_kind kind)
{
    for (size_t i = 0; i < self->f.n_sent; i++)
        if (self->f.sent[i].kind == kind) return &self->f.sent[i];
    return NULL;
}

static struct mini_member *own(struct secure_play *self)
{
    return &self->round.members[SECURE_SELF];
}

static const struct pf_message *must_say(const struct secure_play *self, enum pf_message_kind kind)
{
    const struct pf_message *said = play_said(self, kind);
    assert_non_null(said);
    return said;
}

/* ---- steps ---------------------------------------------------------------------------------- */

struct pf_message play_welcome(const struct secure_play *self)
{
    struct pf_message made = welcome(&self->f);
    made.welcome.aggregation = PF_AGGREGATION_SECURE;
    return made;
}

struct pf_message play_offer(struct secure_play *self, uint32_t number)
{
    struct pf_message made = offer(&self->f, number, &self->f.model);
    double clip = self->f.model.n_parameters > 10000 ? 100 : 4; /* the made-up updates fit */
    made.offer.cohort = SECURE_COHORT;
    made.offer.masking = (struct pf_masking_order){
        .value_bits = 16, .weight_cap = 100, .clip = {clip, clip}, .rotate = true};
    return made;
}

static void make_others(struct secure_play *self)
{
    PF_CLEANUP(pf_model_destroyp) struct pf_model *model = NULL;
    struct mini_config config = {.n_members = SECURE_MEMBERS,
                                 .n_cohort = SECURE_COHORT,
                                 .offer = &self->offered.offer,
                                 .run_id = &self->f.run_id,
                                 .played = SECURE_SELF};
    assert_int_equal(pf_model_create(&self->f.network, NULL, &model, NULL), PF_OK);
    config.length[0] = model->n_trained;
    config.length[1] = model->n_parameters - model->n_trained;
    mini_init(&self->round, &config);
}

void play_join(struct secure_play *self)
{
    struct pf_message made = play_welcome(self);
    tick(&self->f, 0);
    assert_true(play_give(self, &made));
    self->offered = play_offer(self, SECURE_ROUND);
    make_others(self);
    assert_true(play_give(self, &self->offered));
    assert_int_equal(phase(&self->f), PF_PARTICIPANT_FETCHING);
    const struct pf_message *said = must_say(self, PF_MESSAGE_ADVERTISE);
    assert_int_equal(said->advertise.round, SECURE_ROUND);
    own(self)->advert = said->advertise.advert;
    mini_to(&self->round, MINI_REVEALED);
}

void play_fetch(struct secure_play *self)
{
    for (uint32_t i = 0; i < self->f.model.n_chunks; i++) {
        struct pf_message made = chunk(&self->f, &self->f.model, i);
        assert_true(play_give(self, &made));
    }
    assert_int_equal(phase(&self->f), PF_PARTICIPANT_TRAINING);
    assert_int_equal(self->f.n_trains, 1);
}

void play_share(struct secure_play *self)
{
    struct pf_message list = mini_key_list(&self->round, SECURE_SELF);
    assert_true(play_give(self, &list));
    const struct pf_shares *said = &must_say(self, PF_MESSAGE_SHARES)->shares;
    struct pf_shares *kept = &own(self)->shares;
    assert_int_equal(said->n_boxes, SECURE_COHORT - 1);
    *kept = *said;
    kept->boxes = PF_ALLOC(said->n_boxes, struct pf_share_box);
    assert_non_null(kept->boxes);
    memcpy(kept->boxes, said->boxes, said->n_boxes * sizeof *said->boxes);
    pf_message_finish(&list);
    mini_to(&self->round, MINI_READY); /* the others go ahead */
}

void play_deliver(struct secure_play *self)
{
    struct pf_message delivery = mini_delivery(&self->round, SECURE_SELF);
    assert_true(play_give(self, &delivery));
    pf_message_finish(&delivery);
}

struct pf_update play_update(const struct secure_play *self)
{
    const struct mini_member *one = &self->round.members[SECURE_SELF];
    struct pf_update update = {.n = self->f.model.n_parameters};
    update.values = PF_ALLOC(update.n, float);
    assert_non_null(update.values);
    memcpy(update.values, one->update, update.n * sizeof *update.values);
    memcpy(update.figures, one->figures, sizeof update.figures);
    return update;
}

void play_keep_chunks(struct secure_play *self)
{
    for (size_t i = 0; i < self->f.n_sent; i++) {
        const struct pf_chunk *sent = &self->f.sent[i].chunk;
        if (self->f.sent[i].kind != PF_MESSAGE_UPDATE_CHUNK) continue;
        assert_int_equal(sent->round, SECURE_ROUND);
        assert_int_equal(own(self)->masked.length, (size_t)sent->chunk * PF_CHUNK_BYTES);
        assert_int_equal(pf_buffer_append(&own(self)->masked, sent->bytes, sent->length, NULL),
                         PF_OK);
    }
}

void play_train(struct secure_play *self)
{
    struct pf_update update = play_update(self);
    trained_to(&self->f, self->f.job, &update);
    keep_frames(self);
    play_keep_chunks(self);
}

void play_upload(struct secure_play *self)
{
    struct pf_message granted = grant(&self->f, SECURE_ROUND);
    struct pf_message received = receipt(&self->f, SECURE_ROUND);
    assert_int_equal(phase(&self->f), PF_PARTICIPANT_UPLOADING);
    assert_true(play_give(self, &granted));
    play_keep_chunks(self);
    assert_true(play_give(self, &received));
    assert_int_equal(phase(&self->f), PF_PARTICIPANT_UNMASKING);
    mini_to(&self->round, MINI_MASKED);
}

void play_consent(struct secure_play *self)
{
    struct pf_message survivors = mini_survivors(&self->round);
    assert_true(play_give(self, &survivors));
    own(self)->consent = must_say(self, PF_MESSAGE_CONSENT)->consent.consent;
    pf_message_finish(&survivors);
    mini_to(&self->round, MINI_CONSENTED);
}

void play_unmask(struct secure_play *self)
{
    struct pf_message request = mini_request(&self->round, SECURE_SELF);
    assert_true(play_give(self, &request));
    const struct pf_unmask *said = &must_say(self, PF_MESSAGE_UNMASK)->unmask;
    struct pf_unmask *kept = &own(self)->unmask;
    *kept = *said;
    kept->shares = PF_ALLOC(said->n_shares, struct pf_given_share);
    assert_non_null(kept->shares);
    memcpy(kept->shares, said->shares, said->n_shares * sizeof *said->shares);
    pf_message_finish(&request);
}
