/* The messages of secure rounds: what their frames look like, how long they may be, what becomes
 * of damaged ones, and that no share is left behind in memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "message_helpers.h"
#include "sample_messages.h"

/* ---- The layout of records ------------------------------------------------------------------- */

static Packfed__Envelope *unpacked_sample(enum pf_message_kind kind, struct pf_message *sample)
{
    pf_sample_message(kind, sample);
    struct pf_buffer frame = encoded(sample);
    Packfed__Envelope *envelope = packfed__envelope__unpack(NULL, frame.length, frame.bytes);
    assert_non_null(envelope);
    pf_buffer_finish(&frame);
    return envelope;
}

static void records_have_their_documented_layout(void **state)
{
    (void)state;
    struct pf_message key_list, delivery, request, unmask;
    Packfed__Envelope *e = unpacked_sample(PF_MESSAGE_KEY_LIST, &key_list);
    assert_int_equal(e->key_list->adverts.len, 4 * 196);
    const uint8_t *record = e->key_list->adverts.data + 2 * 196;
    const struct pf_advert *advert = &key_list.key_list.adverts[2];
    assert_memory_equal(record, "\x07\0\0\0", 4);
    assert_memory_equal(record + 4, advert->channel_key, 32);
    assert_memory_equal(record + 36, advert->mask_key, 32);
    assert_memory_equal(record + 68, advert->self_commitment.bytes, 32);
    assert_memory_equal(record + 100, advert->randomness_commitment.bytes, 32);
    assert_memory_equal(record + 132, advert->signature, 64);
    assert_int_equal(e->key_list->randomness.len, 5 * 16);
    assert_memory_equal(e->key_list->randomness.data, key_list.key_list.randomness, 5 * 16);
    assert_int_equal(e->key_list->cohort->n_members, 11);
    assert_int_equal(e->key_list->cohort->bits.len, 2);
    assert_memory_equal(e->key_list->cohort->bits.data, "\x8d\x04", 2); /* 0 2 3 7, 10 */
    packfed__envelope__free_unpacked(e, NULL);

    e = unpacked_sample(PF_MESSAGE_SHARE_DELIVERY, &delivery);
    assert_int_equal(e->share_delivery->boxes.len, 3 * 84);
    assert_memory_equal(e->share_delivery->boxes.data + 84, "\x02\0\0\0", 4);
    assert_memory_equal(e->share_delivery->boxes.data + 88, delivery.shares.boxes[1].box, 80);
    packfed__envelope__free_unpacked(e, NULL);

    e = unpacked_sample(PF_MESSAGE_UNMASK_REQUEST, &request);
    assert_int_equal(e->unmask_request->survivors.len, 12);
    assert_memory_equal(e->unmask_request->survivors.data, "\0\0\0\0\x02\0\0\0\x03\0\0\0", 12);
    assert_int_equal(e->unmask_request->dropped.len, 4);
    assert_memory_equal(e->unmask_request->dropped.data, "\x07\0\0\0", 4);
    assert_int_equal(e->unmask_request->consents.len, 3 * 68);
    packfed__envelope__free_unpacked(e, NULL);

    e = unpacked_sample(PF_MESSAGE_UNMASK, &unmask);
    assert_int_equal(e->unmask->shares.len, 4 * 37);
    assert_memory_equal(e->unmask->shares.data + 2 * 37, "\x03\0\0\0\0", 5);
    assert_memory_equal(e->unmask->shares.data + 3 * 37, "\x07\0\0\0\x01", 5);
    assert_memory_equal(e->unmask->shares.data + 3 * 37 + 5, &unmask.unmask.shares[3].share, 32);
    packfed__envelope__free_unpacked(e, NULL);
    struct pf_message *all[] = {&key_list, &delivery, &request, &unmask};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(all); i++) pf_message_finish(all[i]);
}

/* ---- What is allowed ------------------------------------------------------------------------- */

static void assert_round_trips(const struct pf_message *sent)
{
    struct pf_buffer frame = encoded(sent);
    struct pf_message received = decoded(&frame);
    assert_secagg_equal(sent, &received);
    pf_message_finish(&received);
    pf_buffer_finish(&frame);
}

/* Who is named twice, or in both lists, is the receiver's to refuse by name. */
static void unmask_requests_come_as_they_are(void **state)
{
    (void)state;
    struct pf_message message;
    pf_sample_message(PF_MESSAGE_UNMASK_REQUEST, &message);
    message.unmask_request.survivors[0] = 7;
    message.unmask_request.survivors[1] = 7;
    message.unmask_request.survivors[2] = 9999;
    message.unmask_request.consents[2].member = message.unmask_request.consents[0].member;
    assert_round_trips(&message);
    pf_message_finish(&message);
}

static void empty_lists_round_trip(void **state)
{
    (void)state;
    struct pf_message message;
    pf_sample_message(PF_MESSAGE_SURVIVORS, &message);
    memset(message.survivors.survivors.bits, 0, 2);
    assert_round_trips(&message);
    pf_message_finish(&message);
    message = (struct pf_message){
        .kind = PF_MESSAGE_UNMASK, .run_id = {{1}}, .unmask = {.round = PF_MAX_ROUNDS}};
    assert_round_trips(&message);
    message = (struct pf_message){
        .kind = PF_MESSAGE_UNMASK_REQUEST, .run_id = {{1}}, .unmask_request = {.round = 1}};
    assert_round_trips(&message);
    message =
        (struct pf_message){.kind = PF_MESSAGE_SHARES, .run_id = {{1}}, .shares = {.round = 1}};
    assert_round_trips(&message);
}

static void fill(void *out, size_t length)
{
    for (size_t i = 0; i < length; i++) ((uint8_t *)out)[i] = (uint8_t)(i * 31 + i / 256);
}

/* Everybody on a roster of n; adverts of the members 1, 1 + step, … */
static struct pf_message large_key_list(enum pf_graph_kind graph, uint32_t n, uint32_t n_adverts,
                                        uint32_t step)
{
    struct pf_message message = {.kind = PF_MESSAGE_KEY_LIST, .run_id = {{1}}};
    struct pf_key_list *list = &message.key_list;
    bool regular = graph == PF_GRAPH_HARARY;
    *list = (struct pf_key_list){.round = 1,
                                 .parameters = {graph, regular ? n_adverts : n - 1, n / 2 + 1},
                                 .n_randomness = regular ? n : 0,
                                 .randomness = pf_alloc(n, PF_RANDOMNESS_BYTES),
                                 .n_adverts = n_adverts,
                                 .adverts = PF_ALLOC(n_adverts, struct pf_advert)};
    assert_int_equal(pf_member_set_create(n, &list->cohort, NULL), PF_OK);
    for (uint32_t i = 0; i < n; i++) pf_member_set_add(&list->cohort, i);
    fill(list->randomness, (size_t)n * PF_RANDOMNESS_BYTES);
    fill(list->adverts, n_adverts * sizeof list->adverts[0]);
    for (uint32_t i = 0; i < n_adverts; i++) list->adverts[i].member = i * step;
    return message;
}

static void key_lists_fit_a_frame(void **state)
{
    (void)state;
    struct pf_message lists[] = {
        large_key_list(PF_GRAPH_COMPLETE, 500, 500, 1),
        large_key_list(PF_GRAPH_COMPLETE, PF_SECAGG_MAX_COMPLETE, PF_SECAGG_MAX_COMPLETE, 1),
        large_key_list(PF_GRAPH_HARARY, PF_MAX_COHORT, 1000, 10),
    };
    for (size_t i = 0; i < PF_ARRAY_LENGTH(lists); i++) {
        assert_round_trips(&lists[i]);
        pf_message_finish(&lists[i]);
    }
}

static void lists_that_outgrow_a_frame_are_not_sent(void **state)
{
    (void)state;
    struct pf_message list = large_key_list(PF_GRAPH_HARARY, PF_MAX_COHORT, 5000, 2);
    struct pf_buffer frame = {0};
    struct pf_error err = {0};
    assert_int_equal(pf_message_encode(&list, &frame, &err), PF_INVALID);
    assert_non_null(strstr(err.text, "KEY_LIST: a frame of 1141"));
    assert_non_null(strstr(err.text, "at most 1048576"));
    assert_int_equal(frame.length, 0);
    pf_buffer_finish(&frame);
    pf_message_finish(&list);
}

static void longest_lists_round_trip(void **state)
{
    (void)state;
    uint32_t n = PF_MAX_PEERS;
    struct pf_message boxes = {.kind = PF_MESSAGE_SHARES, .run_id = {{1}}};
    boxes.shares =
        (struct pf_shares){.round = 1, .n_boxes = n, .boxes = PF_ALLOC(n, struct pf_share_box)};
    struct pf_message request = {.kind = PF_MESSAGE_UNMASK_REQUEST, .run_id = {{1}}};
    request.unmask_request = (struct pf_unmask_request){
        .round = 1,
        .n_survivors = n,
        .n_dropped = n,
        .n_consents = n,
        .survivors = PF_ALLOC(n, uint32_t),
        .dropped = PF_ALLOC(n, uint32_t),
        .consents = PF_ALLOC(n, struct pf_consent),
    };
    struct pf_message unmask = {.kind = PF_MESSAGE_UNMASK, .run_id = {{1}}};
    unmask.unmask =
        (struct pf_unmask){.round = 1, .n_shares = n, .shares = PF_ALLOC(n, struct pf_given_share)};
    for (uint32_t i = 0; i < n; i++) {
        boxes.shares.boxes[i].peer = i;
        fill(boxes.shares.boxes[i].box, PF_SHARE_BOX_BYTES);
        request.unmask_request.survivors[i] = n - 1 - i;
        request.unmask_request.dropped[i] = i;
        request.unmask_request.consents[i].member = i;
        unmask.unmask.shares[i].member = i;
        unmask.unmask.shares[i].dropped = i % 3 == 0;
        fill(&unmask.unmask.shares[i].share, PF_SCALAR_BYTES);
    }
    struct pf_message *all[] = {&boxes, &request, &unmask};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(all); i++) {
        assert_round_trips(all[i]);
        pf_message_finish(all[i]);
    }
}

/* ---- Damaged frames -------------------------------------------------------------------------- */

static void cut_frames_are_refused(void **state)
{
    (void)state;
    for (int kind = PF_MESSAGE_HELLO; kind < PF_MESSAGE_N_KINDS; kind++) {
        struct pf_message sample;
        pf_sample_message((enum pf_message_kind)kind, &sample);
        struct pf_buffer frame = encoded(&sample);
        for (size_t length = 0; length < frame.length; length++) {
            uint8_t *exact = malloc(length > 0 ? length : 1); /* so that ASan sees its end */
            memcpy(exact, frame.bytes, length);
            assert_refused(exact, length, "");
            free(exact);
        }
        pf_buffer_finish(&frame);
        pf_message_finish(&sample);
    }
}

/* Every single bit of every kind's sample: refused, or a message within every limit. */
static void flipped_bits_are_refused_or_valid(void **state)
{
    (void)state;
    size_t n_refused = 0, n_accepted = 0;
    for (int kind = PF_MESSAGE_ADVERTISE; kind < PF_MESSAGE_N_KINDS; kind++) {
        struct pf_message sample, message;
        pf_sample_message((enum pf_message_kind)kind, &sample);
        struct pf_buffer frame = encoded(&sample);
        for (size_t bit = 0; bit < 8 * frame.length; bit++) {
            frame.bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
            if (pf_message_decode(frame.bytes, frame.length, &message, NULL) == PF_OK) {
                struct pf_buffer again = encoded(&message);
                pf_buffer_finish(&again);
                pf_message_finish(&message);
                n_accepted++;
            } else {
                n_refused++;
            }
            frame.bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        }
        pf_buffer_finish(&frame);
        pf_message_finish(&sample);
    }
    assert_true(n_refused > 1000);
    assert_true(n_accepted > 1000);
}

/* ---- Shares in memory ------------------------------------------------------------------------ */

/* The linker sends pf_free and protobuf-c's release through here (--wrap): while a share is
 * watched, blocks that still hold it are counted. */
static struct pf_scalar watched;
static bool watching;
static size_t n_freed, n_left;

void __real_pf_free(void *block);
void __wrap_pf_free(void *block);
void __real_protobuf_c_message_free_unpacked(ProtobufCMessage *message,
                                             ProtobufCAllocator *allocator);
void __wrap_protobuf_c_message_free_unpacked(ProtobufCMessage *message,
                                             ProtobufCAllocator *allocator);

static void watch(const void *bytes, size_t length)
{
    if (!watching || bytes == NULL) return;
    n_freed++;
    if (memmem(bytes, length, watched.bytes, sizeof watched.bytes) != NULL) n_left++;
}

void __wrap_pf_free(void *block)
{
    watch(block, malloc_usable_size(block));
    __real_pf_free(block);
}

void __wrap_protobuf_c_message_free_unpacked(ProtobufCMessage *message,
                                             ProtobufCAllocator *allocator)
{
    const Packfed__Envelope *envelope = (const Packfed__Envelope *)message;
    bool whole = message->descriptor == &packfed__envelope__descriptor;
    if (whole && envelope->content_case == PACKFED__ENVELOPE__CONTENT_UNMASK)
        watch(envelope->unmask->shares.data, envelope->unmask->shares.len);
    __real_protobuf_c_message_free_unpacked(message, allocator);
}

static void shares_are_wiped_before_they_are_freed(void **state)
{
    (void)state;
    struct pf_message sent, received;
    pf_sample_message(PF_MESSAGE_UNMASK, &sent);
    watched = sent.unmask.shares[1].share;
    n_freed = n_left = 0;
    watching = true;
    struct pf_buffer frame = encoded(&sent); /* frees the list of records */
    received = decoded(&frame);              /* frees protobuf-c's copy */
    assert_int_equal(n_freed, 2);
    frame.bytes[frame.length - 33] = 2;                     /* the flag of the last share */
    assert_refused(frame.bytes, frame.length, "not valid"); /* both copies */
    assert_int_equal(n_freed, 4);
    pf_message_finish(&received);
    pf_message_finish(&sent);
    assert_int_equal(n_freed, 6);
    watching = false;
    assert_int_equal(n_left, 0);
    pf_buffer_finish(&frame); /* the caller's */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_have_their_documented_layout),
        cmocka_unit_test(unmask_requests_come_as_they_are),
        cmocka_unit_test(empty_lists_round_trip),
        cmocka_unit_test(key_lists_fit_a_frame),
        cmocka_unit_test(lists_that_outgrow_a_frame_are_not_sent),
        cmocka_unit_test(longest_lists_round_trip),
        cmocka_unit_test(cut_frames_are_refused),
        cmocka_unit_test(flipped_bits_are_refused_or_valid),
        cmocka_unit_test(shares_are_wiped_before_they_are_freed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
