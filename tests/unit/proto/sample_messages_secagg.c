#include <assert.h>
#include <string.h>

#include "common/base/memory.h"
#include "sample_messages.h"

#define N_MEMBERS 11u
#define N_COHORT 5u

static const uint32_t sample_cohort[N_COHORT] = {0, 2, 3, 7, 10};

static void sample_bytes(void *out, size_t length, uint32_t first)
{
    uint8_t *bytes = out;
    for (size_t i = 0; i < length; i++) bytes[i] = (uint8_t)(first + 3 * i);
}

static void sample_set(struct pf_member_set *set, size_t n)
{
    enum pf_status status = pf_member_set_create(N_MEMBERS, set, NULL);
    assert(status == PF_OK);
    (void)status;
    for (size_t i = 0; i < n; i++) pf_member_set_add(set, sample_cohort[i]);
}

static struct pf_advert sample_advert(uint32_t member)
{
    struct pf_advert advert = {.member = member};
    sample_bytes(advert.channel_key, sizeof advert.channel_key, member + 1);
    sample_bytes(advert.mask_key, sizeof advert.mask_key, member + 50);
    sample_bytes(&advert.self_commitment, sizeof advert.self_commitment, member + 100);
    sample_bytes(&advert.randomness_commitment, sizeof advert.randomness_commitment, member + 150);
    sample_bytes(advert.signature, sizeof advert.signature, member + 200);
    return advert;
}

static struct pf_consent sample_consent(uint32_t member)
{
    struct pf_consent consent = {.member = member};
    sample_bytes(consent.signature, sizeof consent.signature, member + 17);
    return consent;
}

static const struct pf_secagg_parameters sample_parameters = {
    .graph = PF_GRAPH_HARARY, .degree = 4, .threshold = 3};

static void sample_key_list(struct pf_key_list *list)
{
    *list = (struct pf_key_list){
        .round = 3, .parameters = sample_parameters, .n_randomness = N_COHORT, .n_adverts = 4};
    sample_set(&list->cohort, N_COHORT);
    list->randomness = pf_alloc(N_COHORT, PF_RANDOMNESS_BYTES);
    list->adverts = PF_ALLOC(4, struct pf_advert);
    assert(list->randomness != NULL && list->adverts != NULL);
    sample_bytes(list->randomness, (size_t)N_COHORT * PF_RANDOMNESS_BYTES, 9);
    for (size_t i = 0; i < 4; i++) list->adverts[i] = sample_advert(sample_cohort[i + 1]);
}

static void sample_shares(struct pf_shares *shares, bool delivery)
{
    *shares =
        (struct pf_shares){.round = 3, .n_boxes = 3, .boxes = PF_ALLOC(3, struct pf_share_box)};
    assert(shares->boxes != NULL);
    if (delivery) sample_set(&shares->sharers, 4);
    for (size_t i = 0; i < 3; i++) {
        shares->boxes[i].peer = sample_cohort[i];
        sample_bytes(shares->boxes[i].box, PF_SHARE_BOX_BYTES, (uint32_t)(30 * i));
    }
}

static void sample_unmask_request(struct pf_unmask_request *request)
{
    *request = (struct pf_unmask_request){.round = 3,
                                          .n_survivors = 3,
                                          .n_dropped = 1,
                                          .n_consents = 3,
                                          .survivors = PF_ALLOC(3, uint32_t),
                                          .dropped = PF_ALLOC(1, uint32_t),
                                          .consents = PF_ALLOC(3, struct pf_consent)};
    assert(request->survivors != NULL && request->dropped != NULL && request->consents != NULL);
    for (size_t i = 0; i < 3; i++) {
        request->survivors[i] = sample_cohort[i];
        request->consents[i] = sample_consent(sample_cohort[i]);
    }
    request->dropped[0] = sample_cohort[3];
}

static void sample_unmask(struct pf_unmask *unmask)
{
    *unmask =
        (struct pf_unmask){.round = 3, .n_shares = 4, .shares = PF_ALLOC(4, struct pf_given_share)};
    assert(unmask->shares != NULL);
    for (size_t i = 0; i < 4; i++) {
        unmask->shares[i].member = sample_cohort[i];
        unmask->shares[i].dropped = i == 3;
        sample_bytes(&unmask->shares[i].share, PF_SCALAR_BYTES, (uint32_t)(77 + i));
    }
}

void pf_sample_secagg_message(struct pf_message *message)
{
    switch (message->kind) {
    case PF_MESSAGE_ADVERTISE:
        message->advertise = (struct pf_advertise){.round = 3, .advert = sample_advert(7)};
        break;
    case PF_MESSAGE_COMMITTED:
        message->committed = (struct pf_committed){.round = 3, .parameters = sample_parameters};
        sample_set(&message->committed.cohort, N_COHORT);
        sample_bytes(&message->committed.digest, PF_DIGEST_BYTES, 60);
        break;
    case PF_MESSAGE_REVEAL:
        message->reveal.round = 3;
        sample_bytes(message->reveal.randomness, PF_RANDOMNESS_BYTES, 9);
        break;
    case PF_MESSAGE_KEY_LIST: sample_key_list(&message->key_list); break;
    case PF_MESSAGE_SHARES: sample_shares(&message->shares, false); break;
    case PF_MESSAGE_SHARE_DELIVERY: sample_shares(&message->shares, true); break;
    case PF_MESSAGE_UPDATE_GRANT: message->grant.round = 3; break;
    case PF_MESSAGE_SURVIVORS:
        message->survivors.round = 3;
        sample_set(&message->survivors.survivors, 3);
        break;
    case PF_MESSAGE_CONSENT:
        message->consent = (struct pf_consent_message){.round = 3, .consent = sample_consent(7)};
        break;
    case PF_MESSAGE_UNMASK_REQUEST: sample_unmask_request(&message->unmask_request); break;
    case PF_MESSAGE_UNMASK: sample_unmask(&message->unmask); break;
    default: break;
    }
}
