/* What the coordinator's side of a secure round refuses, by name; the state is then what it was:
 * each round goes on and ends with the right sum, or cannot be ended for the reason given. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sodium.h>
#include <string.h>

#include "common/base/memory.h"
#include "secagg_fixture.h"

static void expect_no_advance(struct fixture *f, const char *words)
{
    struct pf_error err = {0};
    enum pf_secagg_phase phase = pf_secagg_server_phase(f->server);
    assert_int_equal(pf_secagg_server_advance(f->server, &err), PF_REFUSED);
    if (strstr(err.text, words) == NULL) fail_msg("%s", err.text);
    assert_int_equal(pf_secagg_server_phase(f->server), phase);
}

/* ---- refusals: each round ends with the right sum all the same ------------------------------- */

static void adverts_that_are_refused(void **state)
{
    (void)state;
    struct fixture *f = fixture_create(6, 0);
    struct pf_secagg_server *s = f->server;
    struct pf_advertise good = fixture_advertise(f, 1), bad = good;
    EXPECT_REFUSED(pf_secagg_server_advertise(s, 6, &good, &reason, &err), PF_REASON_ROSTER,
                   "member 6 is not on the roster of 6");
    bad.round = ROUND + 1;
    EXPECT_REFUSED(pf_secagg_server_advertise(s, 1, &bad, &reason, &err), PF_REASON_LATE,
                   "party-1 speaks of round 8");
    EXPECT_REFUSED(pf_secagg_server_advertise(s, 2, &good, &reason, &err), PF_REASON_ROSTER,
                   "party-2 sends keys in the name of party-1");
    bad = good;
    bad.advert.signature[5] ^= 1;
    EXPECT_REFUSED(pf_secagg_server_advertise(s, 1, &bad, &reason, &err), PF_REASON_SIGNATURE,
                   "the keys of party-1 are not signed");
    bad = good; /* of another round */
    struct pf_digest other = {{1}};
    pf_advert_sign(&bad.advert, &other, f->parties[1].sign_secret);
    EXPECT_REFUSED(pf_secagg_server_advertise(s, 1, &bad, &reason, &err), PF_REASON_SIGNATURE,
                   "the keys of party-1 are not signed");
    for (int which = 0; which < 2; which++) {
        bad = good;
        memset(which == 0 ? bad.advert.channel_key : bad.advert.mask_key, 0, 32);
        pf_advert_sign(&bad.advert, &f->config.context, f->parties[1].sign_secret);
        EXPECT_REFUSED(pf_secagg_server_advertise(s, 1, &bad, &reason, &err), PF_REASON_SIGNATURE,
                       "a key that gives no secret");
    }
    fixture_step(f, 0);
    bad = good; /* of a secret that it does not have */
    memcpy(bad.advert.mask_key, f->parties[0].advert.mask_key, 32);
    pf_advert_sign(&bad.advert, &f->config.context, f->parties[1].sign_secret);
    EXPECT_REFUSED(pf_secagg_server_advertise(s, 1, &bad, &reason, &err), PF_REASON_SIGNATURE,
                   "party-1 advertised the key of party-0");
    assert_false(pf_secagg_server_delivered(s, 1));
    fixture_step(f, 1);
    bad = good; /* a participant that lost its secrets and drew new ones */
    bad.advert.mask_key[0] ^= 1;
    pf_advert_sign(&bad.advert, &f->config.context, f->parties[1].sign_secret);
    EXPECT_REFUSED(pf_secagg_server_advertise(s, 1, &bad, &reason, &err), PF_REASON_STEP,
                   "party-1 sends a second, different message");
    for (uint32_t i = 2; i < 5; i++) fixture_step(f, i);
    fixture_advance(f);
    bad = fixture_advertise(f, 5);
    EXPECT_REFUSED(pf_secagg_server_advertise(s, 5, &bad, &reason, &err), PF_REASON_LATE,
                   "party-5 comes after the end of step 'advertising'");
    fixture_reach(f, PF_SECAGG_UNMASKING);
    fixture_phase(f, 0);
    fixture_expect_sum(f, ALL(5));
    fixture_destroy(f);
}

static void steps_out_of_turn_are_refused(void **state)
{
    (void)state;
    struct fixture *f = fixture_create(6, PF_GRAPH_COMPLETE);
    struct pf_secagg_server *s = f->server;
    const struct pf_shares shares = {.round = ROUND};
    const struct pf_reveal reveal = {.round = ROUND};
    const struct pf_consent_message consent = {.round = ROUND};
    const struct pf_unmask unmask = {.round = ROUND};
    EXPECT_REFUSED(pf_secagg_server_reveal(s, 0, &reveal, &reason, &err), PF_REASON_STEP,
                   "at step 'revealing'; the round is at 'advertising'");
    EXPECT_REFUSED(pf_secagg_server_shares(s, 0, &shares, &reason, &err), PF_REASON_STEP,
                   "at step 'sharing'");
    fixture_phase(f, BIT(0));
    EXPECT_REFUSED(pf_secagg_server_reveal(s, 1, &reveal, &reason, &err), PF_REASON_STEP,
                   "at step 'revealing'; the round is at 'sharing'"); /* there is none */
    EXPECT_REFUSED(pf_secagg_server_shares(s, 0, &shares, &reason, &err), PF_REASON_LATE,
                   "party-0 is not awaited in step 'sharing'");
    EXPECT_REFUSED(pf_secagg_server_masked(s, 1, (const uint8_t *)"", 0, &reason, &err),
                   PF_REASON_STEP, "at step 'masking'");
    EXPECT_REFUSED(pf_secagg_server_consent(s, 1, &consent, &reason, &err), PF_REASON_STEP,
                   "at step 'consenting'");
    EXPECT_REFUSED(pf_secagg_server_unmask(s, 1, &unmask, &reason, &err), PF_REASON_STEP,
                   "at step 'unmasking'");
    fixture_reach(f, PF_SECAGG_UNMASKING);
    EXPECT_REFUSED(pf_secagg_server_unmask(s, 0, &unmask, &reason, &err), PF_REASON_LATE,
                   "party-0 is not awaited");
    fixture_phase(f, 0);
    fixture_expect_sum(f, ALL(6) & ~BIT(0));
    fixture_destroy(f);
}

static void reveals_that_are_refused(void **state)
{
    (void)state;
    struct fixture *f = fixture_create(24, PF_GRAPH_HARARY);
    fixture_phase(f, 0);
    struct pf_reveal bad = fixture_reveal(f, 2);
    bad.randomness[0] ^= 1;
    EXPECT_REFUSED(pf_secagg_server_reveal(f->server, 2, &bad, &reason, &err), PF_REASON_GRAPH,
                   "party-2 reveals other randomness");
    fixture_step(f, 2);
    EXPECT_REFUSED(pf_secagg_server_reveal(f->server, 2, &bad, &reason, &err), PF_REASON_GRAPH,
                   "party-2 reveals other randomness");
    for (uint32_t i = 0; i < 24; i++)
        if (i != 2 && i != 17) fixture_step(f, i);
    expect_no_advance(f, "party-17 has not revealed");
    fixture_step(f, 17);
    fixture_advance(f);
    fixture_reach(f, PF_SECAGG_UNMASKING);
    fixture_phase(f, 0);
    fixture_expect_sum(f, ALL(24));
    fixture_destroy(f);
}

static void boxes_that_are_refused(void **state)
{
    (void)state;
    struct fixture *f = fixture_create(6, 0);
    struct pf_secagg_server *s = f->server;
    fixture_phase(f, 0);
    struct pf_shares shares = fixture_shares(f, 2);
    shares.n_boxes--;
    EXPECT_REFUSED(pf_secagg_server_shares(s, 2, &shares, &reason, &err), PF_REASON_SHARE_BOX,
                   "party-2 sends 4 boxes; it has 5 neighbours");
    shares.n_boxes++;
    uint32_t peer = shares.boxes[2].peer;
    shares.boxes[2].peer = 2; /* itself */
    EXPECT_REFUSED(pf_secagg_server_shares(s, 2, &shares, &reason, &err), PF_REASON_UNKNOWN_PEER,
                   "a box for party-2 (2) where its next neighbour is party-3");
    shares.boxes[2].peer = shares.boxes[1].peer; /* twice */
    EXPECT_REFUSED(pf_secagg_server_shares(s, 2, &shares, &reason, &err), PF_REASON_UNKNOWN_PEER,
                   "a box for party-1 (1) where");
    shares.boxes[2].peer = 4000000000u;
    EXPECT_REFUSED(pf_secagg_server_shares(s, 2, &shares, &reason, &err), PF_REASON_UNKNOWN_PEER,
                   "nobody on the roster");
    shares.boxes[2].peer = peer;
    assert_false(pf_secagg_server_delivered(s, 2));
    EXPECT_OK(pf_secagg_server_shares(s, 2, &shares, &reason, &err));
    shares.boxes[4].box[7] ^= 1;
    EXPECT_REFUSED(pf_secagg_server_shares(s, 2, &shares, &reason, &err), PF_REASON_STEP,
                   "second, different message");
    fixture_free_shares(&shares);
    for (uint32_t i = 0; i < 6; i++)
        if (i != 2) fixture_step(f, i);
    fixture_advance(f);
    fixture_reach(f, PF_SECAGG_UNMASKING);
    fixture_phase(f, 0);
    fixture_expect_sum(f, ALL(6));
    fixture_destroy(f);
}

static void masked_updates_that_are_refused(void **state)
{
    (void)state;
    struct fixture *f = fixture_create(6, 0);
    struct pf_secagg_server *s = f->server;
    fixture_phase(f, 0);
    fixture_phase(f, BIT(5)); /* does not share */
    size_t length = pf_secagg_server_packed_bytes(s);
    uint8_t *packed = fixture_masked(f, 0);
    EXPECT_REFUSED(pf_secagg_server_masked(s, 0, packed, length - 1, &reason, &err),
                   PF_REASON_UPDATE_INVALID, "the masked update of party-0 has");
    EXPECT_REFUSED(pf_secagg_server_masked(s, 5, packed, length, &reason, &err), PF_REASON_LATE,
                   "party-5 is not awaited in step 'masking'");
    EXPECT_REFUSED(pf_secagg_server_masked(s, 17, packed, length, &reason, &err), PF_REASON_ROSTER,
                   "not on the roster");
    for (uint32_t i = 0; i < 5; i++)
        if (i != 3) fixture_step(f, i);
    fixture_advance(f);
    EXPECT_REFUSED(pf_secagg_server_masked(s, 3, packed, length, &reason, &err), PF_REASON_LATE,
                   "party-3 comes after the end of step 'masking'");
    pf_free(packed);
    fixture_reach(f, PF_SECAGG_UNMASKING);
    fixture_phase(f, 0);
    fixture_expect_sum(f, ALL(5) & ~BIT(3));
    fixture_destroy(f);
}

static void consents_that_are_refused(void **state)
{
    (void)state;
    struct fixture *f = fixture_create(6, 0);
    struct pf_secagg_server *s = f->server;
    fixture_reach(f, PF_SECAGG_MASKING);
    fixture_phase(f, BIT(1));
    struct pf_consent_message good = fixture_consent(f, 0), bad = good;
    bad.consent.signature[0] ^= 1;
    EXPECT_REFUSED(pf_secagg_server_consent(s, 0, &bad, &reason, &err), PF_REASON_SIGNATURE,
                   "the consent of party-0 is not its signature");
    EXPECT_REFUSED(pf_secagg_server_consent(s, 2, &good, &reason, &err), PF_REASON_ROSTER,
                   "party-2 sends the consent of party-0");
    bad = good; /* to a larger set */
    pf_member_set_add(&f->parties[0].survivors, 1);
    pf_consent_sign(&f->config.context, &f->parties[0].key_list, &f->parties[0].survivors,
                    f->parties[0].sign_secret, bad.consent.signature);
    EXPECT_REFUSED(pf_secagg_server_consent(s, 0, &bad, &reason, &err), PF_REASON_SIGNATURE,
                   "is not its signature of this survivor set");
    bad = good;
    bad.consent.member = 1;
    EXPECT_REFUSED(pf_secagg_server_consent(s, 1, &bad, &reason, &err), PF_REASON_LATE,
                   "party-1 is not awaited in step 'consenting'");
    assert_false(pf_secagg_server_delivered(s, 0));
    fixture_reach(f, PF_SECAGG_UNMASKING);
    EXPECT_REFUSED(pf_secagg_server_consent(s, 1, &bad, &reason, &err), PF_REASON_LATE,
                   "party-1 is not awaited");
    fixture_phase(f, 0);
    fixture_expect_sum(f, ALL(6) & ~BIT(1));
    fixture_destroy(f);
}

static void shares_that_are_refused(void **state)
{
    (void)state;
    struct fixture *f = fixture_create(7, 0);
    struct pf_secagg_server *s = f->server;
    fixture_reach(f, PF_SECAGG_SHARING);
    fixture_phase(f, BIT(6));
    fixture_phase(f, BIT(1));
    fixture_reach(f, PF_SECAGG_UNMASKING);
    struct pf_unmask unmask = fixture_unmask(f, 0);
    struct pf_given_share saved = unmask.shares[2];
    unmask.n_shares--;
    EXPECT_REFUSED(pf_secagg_server_unmask(s, 0, &unmask, &reason, &err), PF_REASON_SURVIVOR_SET,
                   "party-0 gives 5 shares of 6");
    unmask.n_shares++;
    unmask.shares[2].member = unmask.shares[3].member;
    EXPECT_REFUSED(pf_secagg_server_unmask(s, 0, &unmask, &reason, &err), PF_REASON_REPEATED_PEER,
                   "party-0 gives two shares of party-4");
    unmask.shares[2].member = 6; /* never shared */
    EXPECT_REFUSED(pf_secagg_server_unmask(s, 0, &unmask, &reason, &err), PF_REASON_UNKNOWN_PEER,
                   "party-0 gives a share of party-6 (6), of whom it holds none");
    unmask.shares[2].member = 7;
    EXPECT_REFUSED(pf_secagg_server_unmask(s, 0, &unmask, &reason, &err), PF_REASON_UNKNOWN_PEER,
                   "nobody on the roster");
    unmask.shares[2] = saved;
    unmask.shares[2].dropped = true;
    EXPECT_REFUSED(pf_secagg_server_unmask(s, 0, &unmask, &reason, &err), PF_REASON_SURVIVOR_SET,
                   "the other share of party-3");
    unmask.shares[2] = saved;
    memset(unmask.shares[2].share.bytes, 0xff, PF_SCALAR_BYTES);
    EXPECT_REFUSED(pf_secagg_server_unmask(s, 0, &unmask, &reason, &err), PF_REASON_SHARE_BOX,
                   "no number of the field");
    unmask.shares[2] = saved;
    EXPECT_REFUSED(pf_secagg_server_unmask(s, 1, &unmask, &reason, &err), PF_REASON_LATE,
                   "party-1 is not awaited");
    assert_false(pf_secagg_server_delivered(s, 0));
    EXPECT_OK(pf_secagg_server_unmask(s, 0, &unmask, &reason, &err));
    unmask.shares[2].share.bytes[0] ^= 1;
    EXPECT_REFUSED(pf_secagg_server_unmask(s, 0, &unmask, &reason, &err), PF_REASON_STEP,
                   "second, different message");
    fixture_free_unmask(&unmask);
    for (uint32_t i = 2; i < 6; i++) fixture_step(f, i);
    fixture_expect_sum(f, BIT(0) | BIT(2) | BIT(3) | BIT(4) | BIT(5));
    fixture_destroy(f);
}

/* ---- rounds that cannot be ended ------------------------------------------------------------- */

static void too_few_adverts_end_the_round(void **state)
{
    (void)state;
    struct fixture *f = fixture_create(6, 0);
    fixture_step(f, 3);
    expect_no_advance(f, "1 advertised keys");
    fixture_destroy(f);
    f = fixture_create(6, 0);
    pf_secagg_server_destroy(f->server);
    f->config.dropouts = 0.8;
    assert_int_equal(pf_secagg_server_create(&f->config, &f->server, NULL), PF_OK);
    for (uint32_t i = 0; i < 6; i++) fixture_step(f, i);
    expect_no_advance(f, "6");
    assert_int_equal(pf_secagg_server_threshold(f->server), 0);
    fixture_destroy(f);
}

/* 7 members, threshold 5: four are too few at each of the later steps. */
static void fewer_than_the_threshold_end_the_round(void **state)
{
    (void)state;
    static const char *const words[] = {
        [PF_SECAGG_SHARING] = "4 of 7 shared their secrets; 0 of them have the 5 holders",
        [PF_SECAGG_MASKING] = "4 of 7 delivered a masked update",
        [PF_SECAGG_CONSENTING] = "consented to the survivor set",
    };
    for (unsigned phase = PF_SECAGG_SHARING; phase <= PF_SECAGG_CONSENTING; phase++) {
        struct fixture *f = fixture_create(7, 0);
        fixture_reach(f, (enum pf_secagg_phase)phase);
        assert_int_equal(pf_secagg_server_threshold(f->server), 5);
        for (uint32_t i = 0; i < 4; i++) fixture_step(f, i);
        expect_no_advance(f, words[phase]);
        fixture_destroy(f);
    }
}

static void expect_late_shares(struct fixture *f, const struct pf_unmask *late)
{
    EXPECT_REFUSED(pf_secagg_server_unmask(f->server, 0, late, &reason, &err), PF_REASON_LATE,
                   "party-0 comes after the shares of the others were used");
}

static void too_few_shares_cannot_be_taken(void **state)
{
    (void)state;
    struct fixture *f = fixture_create(7, 0);
    struct pf_unmasking *unmasking = NULL;
    struct pf_error err = {0};
    assert_int_equal(pf_secagg_server_take(f->server, &unmasking, &err), PF_REFUSED);
    assert_non_null(strstr(err.text, "nothing to unmask in step 'advertising'"));
    fixture_reach(f, PF_SECAGG_UNMASKING);
    for (uint32_t i = 1; i < 5; i++) fixture_step(f, i);
    assert_false(pf_secagg_server_can_unmask(f->server));
    assert_int_equal(pf_secagg_server_take(f->server, &unmasking, &err), PF_REFUSED);
    assert_non_null(strstr(err.text, "7 members have fewer than 5 shares"));
    assert_non_null(strstr(err.text, "party-0 with 4 (4 of 7 asked have answered)"));
    assert_null(unmasking);
    assert_int_equal(pf_secagg_server_advance(f->server, &err), PF_INVALID);
    fixture_step(f, 6);
    struct pf_unmask late = fixture_unmask(f, 0);
    fixture_expect_sum(f, ALL(7));
    assert_false(pf_secagg_server_can_unmask(f->server));
    assert_int_equal(pf_secagg_server_take(f->server, &unmasking, &err), PF_REFUSED);
    expect_late_shares(f, &late);
    fixture_free_unmask(&late);
    fixture_destroy(f);
}

/* In a regular graph the neighbours of one are what counts, however many others there are. */
static void lost_neighbourhoods_end_the_round_by_name(void **state)
{
    (void)state;
    for (unsigned phase = PF_SECAGG_MASKING; phase <= PF_SECAGG_CONSENTING; phase++) {
        struct fixture *f = fixture_create(40, PF_GRAPH_HARARY);
        fixture_reach(f, (enum pf_secagg_phase)phase);
        const struct party *party = &f->parties[0];
        uint64_t absent = 0;
        for (uint32_t i = party->parameters.threshold - 1; i < party->n_peers; i++)
            absent |= BIT(party->peers[i]);
        for (uint32_t i = 0; i < 40; i++)
            if ((absent >> i & 1) == 0) fixture_step(f, i);
        expect_no_advance(f, "party-0 ");
        fixture_destroy(f);
    }
}

int main(void)
{
    if (sodium_init() < 0) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adverts_that_are_refused),
        cmocka_unit_test(steps_out_of_turn_are_refused),
        cmocka_unit_test(reveals_that_are_refused),
        cmocka_unit_test(boxes_that_are_refused),
        cmocka_unit_test(masked_updates_that_are_refused),
        cmocka_unit_test(consents_that_are_refused),
        cmocka_unit_test(shares_that_are_refused),
        cmocka_unit_test(too_few_adverts_end_the_round),
        cmocka_unit_test(fewer_than_the_threshold_end_the_round),
        cmocka_unit_test(too_few_shares_cannot_be_taken),
        cmocka_unit_test(lost_neighbourhoods_end_the_round_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
