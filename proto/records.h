/* Fixed-size records, of which lists in secure rounds are made: see packfed.proto. */
#ifndef PF_PROTO_RECORDS_H
#define PF_PROTO_RECORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pf_record_type {
    size_t wire_bytes;   /* of one record in a frame */
    size_t memory_bytes; /* of one record as our own type */
    void (*write)(const void *record, uint8_t *out);
    bool (*read)(const uint8_t *in, void *record); /* false: not such a record */
};

extern const struct pf_record_type pf_advert_record;      /* struct pf_advert */
extern const struct pf_record_type pf_randomness_record;  /* uint8_t[PF_RANDOMNESS_BYTES] */
extern const struct pf_record_type pf_share_box_record;   /* struct pf_share_box */
extern const struct pf_record_type pf_consent_record;     /* struct pf_consent */
extern const struct pf_record_type pf_member_record;      /* uint32_t */
extern const struct pf_record_type pf_given_share_record; /* struct pf_given_share */

/* out[n·wire_bytes] and records[n·memory_bytes]. */
void pf_records_write(const struct pf_record_type *type, const void *records, size_t n,
                      uint8_t *out);
bool pf_records_read(const struct pf_record_type *type, const uint8_t *in, size_t n, void *records);

#endif
