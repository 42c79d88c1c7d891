/* The messages between coordinator and participant, as our own types.
 *
 * Every message is one frame: a protobuf `Envelope` (packfed.proto) checked field by field and
 * copied into these types before anything else sees it.  Every count, length, index and enum has
 * a limit with a name below; what breaks one is refused by a sentence and changes nothing.
 *
 *   participant                         coordinator
 *      │ ── HELLO ───────────────────────▶ │   who I am is the transport key, not the content
 *      │ ◀─────────────── WELCOME or REFUSAL
 *      │ ◀──────────────────── ROUND_OFFER │   model and teacher, how to train, deadline
 *      │ ── ADVERTISE ───────────────────▶ │   step 0: fresh keys, signed
 *      │ ◀────────────────────── COMMITTED │   … k-regular graphs: who takes part, fixed
 *      │ ── REVEAL ──────────────────────▶ │   … one's part of the graph's randomness
 *      │ ◀─────────────────────── KEY_LIST │   step 1: the neighbours' adverts
 *      │ ── SHARES ──────────────────────▶ │   a sealed box for each neighbour
 *      │ ◀───────────────── SHARE_DELIVERY │   the boxes of those who shared
 *      │ ── MODEL_REQUEST ───────────────▶ │   one per missing chunk of the model, and of the
 *      │                                   │   teacher once in a run; beside steps 0 and 1
 *      │ ◀──────────────────── MODEL_CHUNK │
 *      │ ── ALIVE ───────────────────────▶ │   while training; both directions, every few seconds
 *      │ ── UPDATE_CHUNK 0 or DECLINE ───▶ │   step 2: the masked update
 *      │ ◀─────────────────── UPDATE_GRANT │   … room for the rest, when there is more than one
 *      │ ── UPDATE_CHUNK … ──────────────▶ │
 *      │ ◀───────────────── UPDATE_RECEIPT │   will be counted once
 *      │ ◀────────────────────── SURVIVORS │   step 3: whose updates are there
 *      │ ── CONSENT ─────────────────────▶ │   signed, one set per round ever
 *      │ ◀───────────────── UNMASK_REQUEST │   step 4: consents; whose shares are wanted
 *      │ ── UNMASK ──────────────────────▶ │   one of the two shares of each
 *      │ ◀─────────────────── ROUND_RESULT │
 *      │ ◀─────────────────────── FINISHED │
 *
 * With plain aggregation steps 0, 1, 3 and 4 do not exist.
 */
#ifndef PF_PROTO_MESSAGE_H
#define PF_PROTO_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buffer.h"
#include "common/base/error.h"
#include "common/model/model.h"
#include "common/secagg/aggregate.h"
#include "common/secagg/codec.h"
#include "common/secagg/protocol.h"

#define PF_PROTOCOL_VERSION 3u
#define PF_CHUNK_BYTES 262144u        /* every chunk but the last is exactly this long */
#define PF_MAX_CHUNKS 2048u           /* 512 MiB for a model or an update */
#define PF_MAX_MESSAGE_BYTES 1048576u /* one frame, also ZMQ_MAXMSGSIZE */
#define PF_MAX_REASON_BYTES 256u
#define PF_MAX_COHORT 10000u
#define PF_MAX_ROUNDS 1000000u
#define PF_MAX_OFFER_STAGES 64u
#define PF_MIN_ALIVE_MS 100u
#define PF_MAX_ALIVE_MS 600000u
#define PF_MAX_DEADLINE_MS 604800000u /* a week */
#define PF_MAX_ORDER_BATCH 4096u
#define PF_MAX_ORDER_EPOCHS 1000.0
#define PF_MAX_ORDER_SCHEDULE 2u /* the last of enum pf_schedule_kind */
#define PF_MAX_ORDER_RATE 1000.0 /* of learning rate and proximal term */
#define PF_MAX_ORDER_DECAY 1.0   /* of weight decay and l1 */
#define PF_MIN_ORDER_TEMPERATURE 0.1
#define PF_MAX_ORDER_TEMPERATURE 100.0
#define PF_MAX_PEERS                                                             \
    10000u /* in a list of boxes, consents or shares; a frame's size limits more \
            */
#define PF_MIN_CLIP 1e-9
#define PF_MAX_CLIP 1e9
#define PF_HASH_BYTES 32u
#define PF_RUN_ID_BYTES 16u

struct pf_hash {
    uint8_t bytes[PF_HASH_BYTES];
};

struct pf_run_id {
    uint8_t bytes[PF_RUN_ID_BYTES];
};

enum pf_message_kind {
    PF_MESSAGE_HELLO = 1,
    PF_MESSAGE_WELCOME,
    PF_MESSAGE_REFUSAL,
    PF_MESSAGE_ROUND_OFFER,
    PF_MESSAGE_MODEL_REQUEST,
    PF_MESSAGE_MODEL_CHUNK,
    PF_MESSAGE_UPDATE_CHUNK,
    PF_MESSAGE_UPDATE_RECEIPT,
    PF_MESSAGE_DECLINE,
    PF_MESSAGE_ALIVE,
    PF_MESSAGE_ROUND_RESULT,
    PF_MESSAGE_FINISHED,
    PF_MESSAGE_ADVERTISE,
    PF_MESSAGE_COMMITTED,
    PF_MESSAGE_REVEAL,
    PF_MESSAGE_KEY_LIST,
    PF_MESSAGE_SHARES,
    PF_MESSAGE_SHARE_DELIVERY,
    PF_MESSAGE_UPDATE_GRANT,
    PF_MESSAGE_SURVIVORS,
    PF_MESSAGE_CONSENT,
    PF_MESSAGE_UNMASK_REQUEST,
    PF_MESSAGE_UNMASK,
    PF_MESSAGE_N_KINDS,
};

const char *pf_message_kind_name(enum pf_message_kind kind); /* "HELLO", … */

/* Named reasons of REFUSAL and DECLINE. */
enum pf_reason {
    PF_REASON_NONE = 0,
    PF_REASON_VERSION,          /* another protocol version */
    PF_REASON_WRONG_RUN,        /* a run id that is not served here */
    PF_REASON_ARCHITECTURE,     /* a network other than the pinned one */
    PF_REASON_PACKING,          /* a packing that breaks the packing rules */
    PF_REASON_COHORT_TOO_SMALL, /* smaller than the participant's minimum */
    PF_REASON_MODEL_HASH,       /* the assembled model does not have the offered hash */
    PF_REASON_TRAINING_FAILED,  /* diverged, or out of memory */
    PF_REASON_UPDATE_INVALID,   /* wrong length, or a coordinate that is not finite */
    PF_REASON_LATE,             /* the round is over, or the sender was dropped from it */
    PF_REASON_BUSY,
    PF_REASON_POLICY,
    /* Secure rounds. */
    PF_REASON_STEP,          /* a message of another step, or one that is missing before it */
    PF_REASON_SIGNATURE,     /* forged, or missing where one is needed */
    PF_REASON_ROSTER,        /* somebody who is not on the roster, or not in the cohort */
    PF_REASON_THRESHOLD,     /* too low to protect anybody, or not to be met */
    PF_REASON_GRAPH,         /* neighbours or randomness other than was committed to */
    PF_REASON_MODULUS,       /* sums could wrap */
    PF_REASON_SECOND_LIST,   /* a second, different key list for one round */
    PF_REASON_SHARE_BOX,     /* a box that was not made by its sender for this receiver, here */
    PF_REASON_SURVIVOR_SET,  /* a second, different survivor set; or not the one signed */
    PF_REASON_TOO_FEW,       /* survivors: fewer than the threshold */
    PF_REASON_BOTH_SHARES,   /* both secrets of one participant asked for */
    PF_REASON_REPEATED_PEER, /* twice in one list */
    PF_REASON_UNKNOWN_PEER,  /* somebody whose shares are not held */
    PF_REASON_SELF_DROPPED,  /* the receiver itself among the dropped */
    PF_REASON_N,
};

const char *pf_reason_name(enum pf_reason reason); /* "architecture", "cohort too small", … */

struct pf_hello {
    uint32_t version;
    bool returning;          /* the sender was in run_id before */
    struct pf_run_id run_id; /* zero when not returning */
};

struct pf_welcome {
    uint32_t version;
    struct pf_run_id run_id;    /* the message's own, which is what travels */
    uint32_t n_rounds;          /* planned */
    uint32_t alive_interval_ms; /* 100 … 600,000: send ALIVE at least so often */
    uint32_t aggregation;       /* enum pf_aggregation */
    struct pf_network network;
};

struct pf_refusal {
    uint32_t reason; /* enum pf_reason, not NONE */
    uint32_t round;  /* 0 when it concerns no round; rounds count from 1 */
    char text[PF_MAX_REASON_BYTES];
};

/* The client's share of struct pf_train_options; the rest (seed, data) is the participant's own. */
struct pf_training_order {
    uint32_t batch;
    double epochs;
    uint32_t schedule; /* enum pf_schedule_kind */
    double learning_rate, schedule_begin, schedule_end;
    double momentum;
    bool nesterov;
    double weight_decay, l1, label_smoothing;
    double proximal; /* FedProx μ ≥ 0: adds μ/2·‖w − w_global‖² to the loss */
    /* λ and T of distillation from the offer's teacher; both 0: no distillation. */
    double distill_weight, distill_temperature;
};

/* How updates become integers; zero when the aggregation is plain. */
struct pf_masking_order {
    uint32_t value_bits; /* see struct pf_codec_config */
    uint32_t weight_cap;
    double clip[PF_CODEC_SEGMENTS]; /* trained, statistics */
    bool rotate;
};

/* A model file as its chunks are fetched. */
struct pf_chunked_model {
    struct pf_hash hash; /* of the file's bytes */
    uint64_t n_bytes;
    uint32_t n_chunks;
    struct pf_hash *chunk_hashes; /* [n_chunks] */
};

struct pf_round_offer {
    uint32_t round; /* from 1 */
    uint32_t n_rounds;
    uint32_t stage; /* from 1 */
    uint32_t n_stages;
    uint32_t cohort;           /* participants asked in this round */
    uint32_t deadline_ms;      /* from now */
    struct pf_hash model_hash; /* of the model file's bytes */
    uint64_t model_bytes;
    uint32_t n_chunks;
    struct pf_hash *chunk_hashes; /* [n_chunks]; owned */
    struct pf_training_order order;
    struct pf_masking_order masking;
    /* The dense model to distil from, the same one in every round of a run; zero when
     * order.distill_weight is.  chunk_hashes is owned. */
    struct pf_chunked_model teacher;
};

struct pf_model_request {
    struct pf_hash model_hash; /* the round's model, or its teacher */
    uint32_t chunk;
};

struct pf_chunk { /* MODEL_CHUNK (round = 0) and UPDATE_CHUNK */
    uint32_t round;
    struct pf_hash model_hash; /* of the model, or of the model the update belongs to */
    uint32_t chunk;
    uint32_t n_chunks;
    uint8_t *bytes; /* owned */
    size_t length;  /* 1 … PF_CHUNK_BYTES */
};

struct pf_update_receipt {
    uint32_t round;
};

struct pf_alive {
    uint32_t round;   /* 0 outside a round */
    uint8_t training; /* 1 while the local training runs */
};

struct pf_round_result {
    uint32_t round;
    bool completed; /* false: abandoned, see text */
    uint32_t n_included;
    bool accuracy_known;
    double accuracy_percent; /* of the aggregated model on the coordinator's test set */
    char text[PF_MAX_REASON_BYTES];
};

struct pf_finished {
    bool success;
    char text[PF_MAX_REASON_BYTES];
};

/* ---- secure rounds: the steps of docs/protocol.md -------------------------------------------- */

struct pf_advertise {
    uint32_t round;
    struct pf_advert advert;
};

struct pf_committed {
    uint32_t round;
    struct pf_member_set cohort;            /* owned, as in all messages below */
    struct pf_secagg_parameters parameters; /* HARARY */
    struct pf_digest digest;                /* pf_cohort_digest */
};

struct pf_reveal {
    uint32_t round;
    uint8_t randomness[PF_RANDOMNESS_BYTES];
};

struct pf_key_list {
    uint32_t round;
    struct pf_member_set cohort;
    struct pf_secagg_parameters parameters;
    /* HARARY: everybody's, in the order of members; COMPLETE: none. */
    uint32_t n_randomness;
    uint8_t (*randomness)[PF_RANDOMNESS_BYTES]; /* [n_randomness]; owned */
    /* In ascending order of members.  HARARY: the receiver's neighbours; COMPLETE: everybody. */
    uint32_t n_adverts;
    struct pf_advert *adverts; /* [n_adverts]; owned */
};

struct pf_share_box {
    uint32_t peer; /* SHARES: the receiver; SHARE_DELIVERY: the sender */
    uint8_t box[PF_SHARE_BOX_BYTES];
};

struct pf_shares { /* SHARES and SHARE_DELIVERY; ascending peers */
    uint32_t round;
    struct pf_member_set sharers; /* SHARE_DELIVERY: all who shared; SHARES: empty (0 members) */
    uint32_t n_boxes;
    struct pf_share_box *boxes; /* [n_boxes]; owned */
};

struct pf_update_grant {
    uint32_t round;
};

struct pf_survivors {
    uint32_t round;
    struct pf_member_set survivors;
};

struct pf_consent {
    uint32_t member; /* as part of UNMASK_REQUEST */
    uint8_t signature[PF_SIGNATURE_BYTES];
};

struct pf_consent_message {
    uint32_t round;
    struct pf_consent consent;
};

/* The lists are as they came: repeated or unknown members are for the receiver to refuse. */
struct pf_unmask_request {
    uint32_t round;
    uint32_t n_survivors, n_dropped, n_consents;
    uint32_t *survivors;         /* [n_survivors]: self-mask shares wanted; owned */
    uint32_t *dropped;           /* [n_dropped]: mask-key shares wanted; owned */
    struct pf_consent *consents; /* [n_consents]; owned */
};

struct pf_unmask {
    uint32_t round;
    uint32_t n_shares;
    struct pf_given_share *shares; /* [n_shares]; owned, wiped */
};

struct pf_message {
    enum pf_message_kind kind;
    struct pf_run_id run_id; /* of every message but HELLO and REFUSAL, where it may be zero */
    union {
        struct pf_hello hello;
        struct pf_welcome welcome;
        struct pf_refusal refusal; /* also DECLINE */
        struct pf_round_offer offer;
        struct pf_model_request request;
        struct pf_chunk chunk; /* MODEL_CHUNK and UPDATE_CHUNK */
        struct pf_update_receipt receipt;
        struct pf_alive alive;
        struct pf_round_result result;
        struct pf_finished finished;
        struct pf_advertise advertise;
        struct pf_committed committed;
        struct pf_reveal reveal;
        struct pf_key_list key_list;
        struct pf_shares shares; /* SHARES and SHARE_DELIVERY */
        struct pf_update_grant grant;
        struct pf_survivors survivors;
        struct pf_consent_message consent;
        struct pf_unmask_request unmask_request;
        struct pf_unmask unmask;
    };
};

/* Releases what the message owns; an all-zero message is fine. */
void pf_message_finish(struct pf_message *self);

/* Appends the frame.  PF_INVALID when the message breaks a limit: what is sent can be read. */
PF_NODISCARD enum pf_status pf_message_encode(const struct pf_message *self,
                                              struct pf_buffer *bytes, struct pf_error *err);

/* Parses and checks a frame.  PF_CORRUPT with the field and the limit; *message is then unchanged.
 * On success the caller owns *message (pf_message_finish).  What a peer wrote as text comes out
 * as printable UTF-8: see pf_printable. */
PF_NODISCARD enum pf_status pf_message_decode(const uint8_t *bytes, size_t length,
                                              struct pf_message *message, struct pf_error *err);

#endif
