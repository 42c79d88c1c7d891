/* One participant's session in a secure round whose other members are real clients: the session is
 * played by hand through the fixture, the others and the coordinator's part by the mini round. */
#ifndef PF_TESTS_UNIT_PARTICIPANT_SECURE_SESSION_H
#define PF_TESTS_UNIT_PARTICIPANT_SECURE_SESSION_H

#include "fixture.h"
#include "mini_round.h"

enum { SECURE_MEMBERS = 6, SECURE_COHORT = 5, SECURE_SELF = 1, SECURE_ROUND = 3 };

struct secure_play {
    struct fixture f;
    struct mini_round round;
    struct pf_message offered; /* as last given; chunk hashes are borrowed */
    /* Every frame that the session has sent since play_init, one behind the other. */
    struct pf_buffer frames;
};

/* A session that is not yet welcomed; `large`: a model whose update takes several chunks. */
void play_init(struct secure_play *self, bool large,
               void (*change)(struct pf_participant_session_config *));
void play_finish(struct secure_play *self);

/* give(), and the frames are kept; every message that is sent is one that can be encoded. */
bool play_give(struct secure_play *self, const struct pf_message *message);
/* The message of this kind among those of the last event, or NULL. */
const struct pf_message *play_said(const struct secure_play *self, enum pf_message_kind kind);

struct pf_message play_welcome(const struct secure_play *self);
struct pf_message play_offer(struct secure_play *self, uint32_t number);

/* Each takes the session one step on and asserts that it went well. */
void play_join(struct secure_play *self);    /* → FETCHING; the round's others are made */
void play_fetch(struct secure_play *self);   /* → TRAINING */
void play_share(struct secure_play *self);   /* key list → SHARES */
void play_deliver(struct secure_play *self); /* share boxes */
void play_train(struct secure_play *self);   /* → MASKING or UPLOADING */
void play_upload(struct secure_play *self);  /* grant, chunks, receipt → UNMASKING */
void play_consent(struct secure_play *self); /* survivors → CONSENT */
void play_unmask(struct secure_play *self);  /* request → UNMASK */

/* What the session's member trains: the mini round's update for it. */
struct pf_update play_update(const struct secure_play *self);
void play_keep_chunks(struct secure_play *self); /* the UPDATE_CHUNKs of the last event */

#endif
