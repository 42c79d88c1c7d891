/* The coordinator's side of a secure round: the sum is the plain one whoever drops, whoever repeats
 * and, where shares are to spare, whoever lies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sodium.h>
#include <string.h>

#include "common/base/memory.h"
#include "secagg_fixture.h"

/* ---- sums ------------------------------------------------------------------------------------ */

/* absent: who misses the six phases, one set each. */
static void run_round(uint32_t n, enum pf_graph_kind graph, const uint64_t absent[6])
{
    struct fixture *f = fixture_create(n, graph);
    uint64_t survivors = ALL(n);
    for (unsigned phase = 0; phase < 6; phase++) {
        if (pf_secagg_server_phase(f->server) != (enum pf_secagg_phase)phase) continue;
        fixture_phase(f, absent[phase]);
        if (phase <= PF_SECAGG_MASKING) survivors &= ~absent[phase];
    }
    fixture_expect_sum(f, survivors);
    fixture_destroy(f);
}

static void nobody_drops(void **state)
{
    (void)state;
    for (uint32_t n = 4; n < 9; n++) run_round(n, 0, (const uint64_t[6]){0});
    run_round(3, PF_GRAPH_COMPLETE, (const uint64_t[6]){0});
    run_round(24, PF_GRAPH_HARARY, (const uint64_t[6]){0});
}

static void anybody_drops_at_any_one_step(void **state)
{
    (void)state;
    for (unsigned phase = 0; phase < 6; phase++)
        for (uint32_t who = 0; who < 7; who++) {
            uint64_t absent[6] = {0};
            absent[phase] = BIT(who);
            run_round(7, PF_GRAPH_COMPLETE, absent);
        }
}

static void some_drop_at_every_step(void **state)
{
    (void)state;
    /* 12 advertise, f = 2, threshold 8. */
    const uint64_t absent[6] = {BIT(3) | BIT(13), 0, BIT(0), BIT(12), BIT(6), BIT(9)};
    run_round(14, PF_GRAPH_COMPLETE, absent);
}

static void regular_graphs_with_drops_at_every_step(void **state)
{
    (void)state;
    const uint64_t absent[6] = {BIT(5), 0, BIT(0), BIT(20), BIT(39), BIT(11)};
    run_round(40, PF_GRAPH_HARARY, absent);
    const uint64_t several[6] = {0, 0, BIT(7) | BIT(8), BIT(1) | BIT(30), 0, 0};
    run_round(41, PF_GRAPH_HARARY, several);
}

static void shares_in_excess_do_no_harm(void **state)
{
    (void)state;
    struct fixture *f = fixture_create(8, 0);
    fixture_reach(f, PF_SECAGG_UNMASKING);
    uint32_t t = pf_secagg_server_threshold(f->server);
    for (uint32_t i = 0; i < 8; i++) {
        assert_int_equal(pf_secagg_server_can_unmask(f->server), i >= t);
        fixture_step(f, i);
    }
    fixture_expect_sum(f, ALL(8));
    fixture_destroy(f);
}

/* ---- parameters ------------------------------------------------------------------------------ */

static void parameters_follow_from_who_advertised(void **state)
{
    (void)state;
    struct fixture *f = fixture_create(12, 0);
    assert_int_equal(pf_secagg_server_threshold(f->server), 0);
    fixture_phase(f, BIT(2) | BIT(4)); /* n = 10, f = 2 → t = 7: the document's example */
    const struct pf_secagg_parameters *p = pf_secagg_server_parameters(f->server);
    assert_int_equal(p->graph, PF_GRAPH_COMPLETE);
    assert_int_equal(p->degree, 9);
    assert_int_equal(pf_secagg_server_threshold(f->server), 7);
    assert_int_equal(pf_secagg_server_codec(f->server)->n_participants, 10);
    assert_int_equal(pf_secagg_server_codec(f->server)->modulus_bits, 20); /* 16 + ⌈log2 10⌉ */
    assert_false(pf_secagg_server_awaits(f->server, 2));
    assert_true(pf_secagg_server_awaits(f->server, 3));
    fixture_destroy(f);
}

static void corrupt_fraction_has_a_default(void **state)
{
    (void)state;
    struct fixture *f = fixture_create(10, 0);
    pf_secagg_server_destroy(f->server);
    f->config.corrupt = -1;
    assert_int_equal(pf_secagg_server_create(&f->config, &f->server, NULL), PF_OK);
    fixture_phase(f, 0);
    assert_int_equal(pf_secagg_server_threshold(f->server), 7);
    fixture_destroy(f);
}

static bool adjacent(const struct fixture *f, uint32_t i, uint32_t j)
{
    for (uint32_t k = 0; k < f->parties[i].n_peers; k++)
        if (f->parties[i].peers[k] == j) return true;
    return false;
}

/* Neighbours of i alone, not of j, at most n of them. */
static uint64_t only_of(const struct fixture *f, uint32_t i, uint32_t j, uint32_t n)
{
    uint64_t set = 0;
    for (uint32_t k = 0; k < f->parties[i].n_peers && n > 0; k++) {
        uint32_t peer = f->parties[i].peers[k];
        if (peer == j || adjacent(f, j, peer)) continue;
        set |= BIT(peer);
        n--;
    }
    return set;
}

/* Who stays away so that the threshold of 3 is missed by v for want of one neighbour, and then, and
 * only then, by its neighbour w < v. */
static uint64_t choose_absent(const struct fixture *f)
{
    for (uint32_t v = 1; v < f->n; v++)
        for (uint32_t w = 0; w < v; w++) {
            uint64_t stay = only_of(f, v, w, 1) | only_of(f, w, v, 2) | BIT(v) | BIT(w), absent = 0;
            if (!adjacent(f, v, w) || __builtin_popcountll(stay) != 5) continue;
            for (uint32_t k = 0; k < f->parties[v].n_peers; k++)
                absent |= BIT(f->parties[v].peers[k]) | BIT(f->parties[w].peers[k]);
            return absent & ~stay;
        }
    fail_msg("no such neighbours in this graph");
    return 0;
}

static uint64_t awaited(const struct fixture *f)
{
    uint64_t set = 0;
    for (uint32_t i = 0; i < f->n; i++)
        if (pf_secagg_server_awaits(f->server, i)) set |= BIT(i);
    return set;
}

static void thin_neighbourhoods_leave_the_sharers(void **state)
{
    (void)state;
    struct fixture *f = fixture_create(40, PF_GRAPH_HARARY);
    pf_secagg_server_destroy(f->server);
    f->config.adversary = PF_SEMI_HONEST; /* k = 12, t = 3 */
    assert_int_equal(pf_secagg_server_create(&f->config, &f->server, NULL), PF_OK);
    fixture_reach(f, PF_SECAGG_SHARING);
    assert_int_equal(pf_secagg_server_threshold(f->server), 3);
    for (uint32_t i = 0; i < 40; i++) { /* learns the graph */
        struct pf_shares shares = fixture_shares(f, i);
        fixture_free_shares(&shares);
    }
    uint64_t absent = choose_absent(f);
    fixture_phase(f, absent);
    uint64_t sharers = awaited(f);
    assert_int_equal(sharers & absent, 0);
    for (uint32_t i = 0; i < 40; i++) {
        uint32_t n = 0;
        for (uint32_t j = 0; j < 12; j++) n += (sharers >> f->parties[i].peers[j] & 1) != 0;
        if ((absent >> i & 1) == 0) assert_int_equal(n >= 3, sharers >> i & 1);
    }
    assert_true(__builtin_popcountll(sharers | absent) <= 38);
    assert_true(__builtin_popcountll(sharers) >= 4);
    fixture_reach(f, PF_SECAGG_UNMASKING);
    fixture_phase(f, 0);
    fixture_expect_sum(f, sharers);
    fixture_destroy(f);
}

/* ---- repeats --------------------------------------------------------------------------------- */

/* Messages of one member, kept to be sent again. */
struct kept {
    struct pf_advertise advertise;
    struct pf_reveal reveal;
    struct pf_shares shares;
    uint8_t *masked;
    struct pf_consent_message consent;
    struct pf_unmask unmask;
};

static void send_kept(struct fixture *f, uint32_t member, const struct kept *kept,
                      enum pf_secagg_phase phase)
{
    struct pf_secagg_server *s = f->server;
    size_t length = pf_secagg_server_packed_bytes(s);
    switch (phase) {
    case PF_SECAGG_ADVERTISING:
        EXPECT_OK(pf_secagg_server_advertise(s, member, &kept->advertise, &reason, &err));
        break;
    case PF_SECAGG_REVEALING:
        EXPECT_OK(pf_secagg_server_reveal(s, member, &kept->reveal, &reason, &err));
        break;
    case PF_SECAGG_SHARING:
        EXPECT_OK(pf_secagg_server_shares(s, member, &kept->shares, &reason, &err));
        break;
    case PF_SECAGG_MASKING:
        EXPECT_OK(pf_secagg_server_masked(s, member, kept->masked, length, &reason, &err));
        break;
    case PF_SECAGG_CONSENTING:
        EXPECT_OK(pf_secagg_server_consent(s, member, &kept->consent, &reason, &err));
        break;
    case PF_SECAGG_UNMASKING:
        EXPECT_OK(pf_secagg_server_unmask(s, member, &kept->unmask, &reason, &err));
        break;
    }
}

static void keep(struct fixture *f, uint32_t member, struct kept *kept)
{
    switch (pf_secagg_server_phase(f->server)) {
    case PF_SECAGG_ADVERTISING: kept->advertise = fixture_advertise(f, member); break;
    case PF_SECAGG_REVEALING: kept->reveal = fixture_reveal(f, member); break;
    case PF_SECAGG_SHARING: kept->shares = fixture_shares(f, member); break;
    case PF_SECAGG_MASKING: kept->masked = fixture_masked(f, member); break;
    case PF_SECAGG_CONSENTING: kept->consent = fixture_consent(f, member); break;
    case PF_SECAGG_UNMASKING: kept->unmask = fixture_unmask(f, member); break;
    }
}

static void run_with_repeats(uint32_t n, enum pf_graph_kind graph)
{
    struct fixture *f = fixture_create(n, graph);
    struct kept kept[MAX_PARTIES] = {0};
    for (bool last = false; !last;) {
        enum pf_secagg_phase phase = pf_secagg_server_phase(f->server);
        last = phase == PF_SECAGG_UNMASKING;
        for (uint32_t i = 0; i < n; i++) {
            keep(f, i, &kept[i]);
            for (unsigned p = 0; p <= (unsigned)phase; p++) {
                if (p == PF_SECAGG_REVEALING && graph != PF_GRAPH_HARARY) continue;
                send_kept(f, i, &kept[i], (enum pf_secagg_phase)p); /* old ones and the new one */
            }
            send_kept(f, i, &kept[i], phase);
        }
        if (!last) fixture_advance(f);
    }
    fixture_expect_sum(f, ALL(n));
    for (uint32_t i = 0; i < n; i++) {
        send_kept(f, i, &kept[i], PF_SECAGG_UNMASKING); /* after its shares were used */
        fixture_free_shares(&kept[i].shares);
        fixture_free_unmask(&kept[i].unmask);
        pf_free(kept[i].masked);
    }
    fixture_destroy(f);
}

static void repeats_change_nothing(void **state)
{
    (void)state;
    run_with_repeats(5, PF_GRAPH_COMPLETE);
    run_with_repeats(24, PF_GRAPH_HARARY);
}

static void messages_are_the_same_whenever_asked_for(void **state)
{
    (void)state;
    struct fixture *f = fixture_create(24, PF_GRAPH_HARARY);
    for (fixture_phase(f, 0);; fixture_phase(f, 0)) {
        struct pf_message first = {0}, second = {0};
        PF_CLEANUP(pf_buffer_finish) struct pf_buffer a = {0}, b = {0};
        assert_int_equal(pf_secagg_server_message(f->server, 3, &first, NULL), PF_OK);
        if (pf_secagg_server_phase(f->server) != PF_SECAGG_UNMASKING) fixture_step(f, 3);
        assert_int_equal(pf_secagg_server_message(f->server, 3, &second, NULL), PF_OK);
        first.run_id.bytes[0] = second.run_id.bytes[0] = 1;
        assert_int_equal(pf_message_encode(&first, &a, NULL), PF_OK);
        assert_int_equal(pf_message_encode(&second, &b, NULL), PF_OK);
        assert_int_equal(a.length, b.length);
        assert_memory_equal(a.bytes, b.bytes, a.length);
        pf_message_finish(&first);
        pf_message_finish(&second);
        if (pf_secagg_server_phase(f->server) == PF_SECAGG_UNMASKING) break;
        for (uint32_t i = 0; i < 24; i++)
            if (!pf_secagg_server_delivered(f->server, i)) fixture_step(f, i);
        fixture_advance(f);
        if (pf_secagg_server_phase(f->server) == PF_SECAGG_UNMASKING) break;
    }
    fixture_destroy(f);
}

static void there_is_no_message_for_who_is_not_awaited(void **state)
{
    (void)state;
    struct fixture *f = fixture_create(6, 0);
    struct pf_message message;
    struct pf_error err = {0};
    assert_int_equal(pf_secagg_server_message(f->server, 0, &message, &err), PF_INVALID);
    assert_non_null(strstr(err.text, "offer"));
    fixture_phase(f, BIT(4));
    assert_int_equal(pf_secagg_server_message(f->server, 4, &message, &err), PF_INVALID);
    assert_non_null(strstr(err.text, "party-4 (4) is not awaited"));
    assert_int_equal(pf_secagg_server_message(f->server, 99, &message, &err), PF_INVALID);
    fixture_destroy(f);
}

/* ---- liars ----------------------------------------------------------------------------------- */

static void lie(struct fixture *f, uint32_t member)
{
    struct pf_unmask unmask = fixture_unmask(f, member);
    for (uint32_t i = 0; i < unmask.n_shares; i++) pf_scalar_random(&unmask.shares[i].share);
    EXPECT_OK(pf_secagg_server_unmask(f->server, member, &unmask, &reason, &err));
    fixture_free_unmask(&unmask);
}

static void a_liar_is_survived_where_shares_are_to_spare(void **state)
{
    (void)state;
    for (uint32_t liar = 0; liar < 6; liar++) {
        struct fixture *f = fixture_create(7, 0);
        fixture_reach(f, PF_SECAGG_MASKING);
        fixture_phase(f, BIT(6));
        fixture_reach(f, PF_SECAGG_UNMASKING);
        lie(f, liar);
        for (uint32_t i = 0; i < 6; i++)
            if (i != liar) fixture_step(f, i);
        fixture_expect_sum(f, ALL(6));
        fixture_destroy(f);
    }
}

static void a_liar_is_survived_in_a_regular_graph(void **state)
{
    (void)state;
    struct fixture *f = fixture_create(40, PF_GRAPH_HARARY);
    fixture_reach(f, PF_SECAGG_MASKING);
    fixture_phase(f, BIT(4));
    fixture_reach(f, PF_SECAGG_UNMASKING);
    lie(f, 9);
    for (uint32_t i = 0; i < 40; i++)
        if (i != 9 && i != 4) fixture_step(f, i);
    fixture_expect_sum(f, ALL(40) & ~BIT(4));
    fixture_destroy(f);
}

static void a_liar_is_refused_by_name_where_none_are_to_spare(void **state)
{
    (void)state;
    struct fixture *f = fixture_create(7, 0);
    PF_CLEANUP(pf_unmasking_destroyp) struct pf_unmasking *unmasking = NULL;
    struct pf_error err = {0};
    fixture_reach(f, PF_SECAGG_UNMASKING);
    lie(f, 3);
    for (uint32_t i = 0; i < 4; i++)
        if (i != 3) fixture_step(f, i);
    fixture_step(f, 5);
    assert_int_equal(pf_secagg_server_take(f->server, &unmasking, &err), PF_OK);
    assert_int_equal(pf_unmasking_run(unmasking, NULL, NULL, &err), PF_REFUSED);
    assert_non_null(strstr(err.text, "no 5 of 5 shares"));
    assert_non_null(strstr(err.text, "members 0, 1, 2, 3, 5 "));
    fixture_destroy(f);
}

int main(void)
{
    if (sodium_init() < 0) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_drops),
        cmocka_unit_test(anybody_drops_at_any_one_step),
        cmocka_unit_test(some_drop_at_every_step),
        cmocka_unit_test(regular_graphs_with_drops_at_every_step),
        cmocka_unit_test(shares_in_excess_do_no_harm),
        cmocka_unit_test(parameters_follow_from_who_advertised),
        cmocka_unit_test(corrupt_fraction_has_a_default),
        cmocka_unit_test(thin_neighbourhoods_leave_the_sharers),
        cmocka_unit_test(repeats_change_nothing),
        cmocka_unit_test(messages_are_the_same_whenever_asked_for),
        cmocka_unit_test(there_is_no_message_for_who_is_not_awaited),
        cmocka_unit_test(a_liar_is_survived_where_shares_are_to_spare),
        cmocka_unit_test(a_liar_is_survived_in_a_regular_graph),
        cmocka_unit_test(a_liar_is_refused_by_name_where_none_are_to_spare),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
