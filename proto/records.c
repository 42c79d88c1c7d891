#include "proto/records.h"

#include <string.h>

#include "proto/message.h"

/* Every put and get moves the cursor behind what it handled. */
static void put_u32(uint8_t **out, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++) *(*out)++ = (uint8_t)(value >> (8 * i));
}

static void put_bytes(uint8_t **out, const void *bytes, size_t length)
{
    memcpy(*out, bytes, length);
    *out += length;
}

static uint32_t get_u32(const uint8_t **in)
{
    uint32_t value = 0;
    for (unsigned i = 0; i < 4; i++) value |= (uint32_t) * (*in)++ << (8 * i);
    return value;
}

static void get_bytes(const uint8_t **in, void *bytes, size_t length)
{
    memcpy(bytes, *in, length);
    *in += length;
}

static void write_advert(const void *record, uint8_t *out)
{
    const struct pf_advert *advert = record;
    put_u32(&out, advert->member);
    put_bytes(&out, advert->channel_key, sizeof advert->channel_key);
    put_bytes(&out, advert->mask_key, sizeof advert->mask_key);
    put_bytes(&out, advert->self_commitment.bytes, PF_DIGEST_BYTES);
    put_bytes(&out, advert->randomness_commitment.bytes, PF_DIGEST_BYTES);
    put_bytes(&out, advert->signature, PF_SIGNATURE_BYTES);
}

static bool read_advert(const uint8_t *in, void *record)
{
    struct pf_advert *advert = record;
    advert->member = get_u32(&in);
    get_bytes(&in, advert->channel_key, sizeof advert->channel_key);
    get_bytes(&in, advert->mask_key, sizeof advert->mask_key);
    get_bytes(&in, advert->self_commitment.bytes, PF_DIGEST_BYTES);
    get_bytes(&in, advert->randomness_commitment.bytes, PF_DIGEST_BYTES);
    get_bytes(&in, advert->signature, PF_SIGNATURE_BYTES);
    return true;
}

static void write_randomness(const void *record, uint8_t *out)
{
    memcpy(out, record, PF_RANDOMNESS_BYTES);
}

static bool read_randomness(const uint8_t *in, void *record)
{
    memcpy(record, in, PF_RANDOMNESS_BYTES);
    return true;
}

static void write_share_box(const void *record, uint8_t *out)
{
    const struct pf_share_box *box = record;
    put_u32(&out, box->peer);
    put_bytes(&out, box->box, PF_SHARE_BOX_BYTES);
}

static bool read_share_box(const uint8_t *in, void *record)
{
    struct pf_share_box *box = record;
    box->peer = get_u32(&in);
    get_bytes(&in, box->box, PF_SHARE_BOX_BYTES);
    return true;
}

static void write_consent(const void *record, uint8_t *out)
{
    const struct pf_consent *consent = record;
    put_u32(&out, consent->member);
    put_bytes(&out, consent->signature, PF_SIGNATURE_BYTES);
}

static bool read_consent(const uint8_t *in, void *record)
{
    struct pf_consent *consent = record;
    consent->member = get_u32(&in);
    get_bytes(&in, consent->signature, PF_SIGNATURE_BYTES);
    return true;
}

static void write_member(const void *record, uint8_t *out)
{
    put_u32(&out, *(const uint32_t *)record);
}

static bool read_member(const uint8_t *in, void *record)
{
    *(uint32_t *)record = get_u32(&in);
    return true;
}

static void write_given_share(const void *record, uint8_t *out)
{
    const struct pf_given_share *share = record;
    put_u32(&out, share->member);
    *out++ = share->dropped;
    put_bytes(&out, share->share.bytes, PF_SCALAR_BYTES);
}

static bool read_given_share(const uint8_t *in, void *record)
{
    struct pf_given_share *share = record;
    share->member = get_u32(&in);
    uint8_t dropped = *in++;
    share->dropped = dropped == 1;
    get_bytes(&in, share->share.bytes, PF_SCALAR_BYTES);
    return dropped <= 1;
}

const struct pf_record_type pf_advert_record = {
    4 + 32 + 32 + PF_DIGEST_BYTES + PF_DIGEST_BYTES + PF_SIGNATURE_BYTES, sizeof(struct pf_advert),
    write_advert, read_advert};
const struct pf_record_type pf_randomness_record = {PF_RANDOMNESS_BYTES, PF_RANDOMNESS_BYTES,
                                                    write_randomness, read_randomness};
const struct pf_record_type pf_share_box_record = {
    4 + PF_SHARE_BOX_BYTES, sizeof(struct pf_share_box), write_share_box, read_share_box};
const struct pf_record_type pf_consent_record = {4 + PF_SIGNATURE_BYTES, sizeof(struct pf_consent),
                                                 write_consent, read_consent};
const struct pf_record_type pf_member_record = {4, sizeof(uint32_t), write_member, read_member};
const struct pf_record_type pf_given_share_record = {
    4 + 1 + PF_SCALAR_BYTES, sizeof(struct pf_given_share), write_given_share, read_given_share};

void pf_records_write(const struct pf_record_type *type, const void *records, size_t n,
                      uint8_t *out)
{
    const uint8_t *record = records;
    for (size_t i = 0; i < n; i++)
        type->write(record + i * type->memory_bytes, out + i * type->wire_bytes);
}

bool pf_records_read(const struct pf_record_type *type, const uint8_t *in, size_t n, void *records)
{
    uint8_t *record = records;
    for (size_t i = 0; i < n; i++)
        if (!type->read(in + i * type->wire_bytes, record + i * type->memory_bytes)) return false;
    return true;
}
