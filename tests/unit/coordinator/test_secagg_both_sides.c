/* Both sides of a secure round together: what the participant's code encodes and masks, the
 * coordinator's code sums, unmasks and decodes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/random.h"
#include "participant/secagg_client.h"
#include "secagg_fixture.h"

#define TRAINED 600u
#define STATISTICS 30u
#define LENGTH (TRAINED + STATISTICS)

struct both {
    struct fixture *f;
    struct pf_roster roster;
    struct pf_secagg_client *clients[MAX_PARTIES];
};

static struct both both_create(uint32_t n, enum pf_graph_kind graph)
{
    struct both both = {.f = fixture_create(n, graph)};
    struct fixture *f = both.f;
    pf_secagg_server_destroy(f->server);
    f->config.length[0] = TRAINED;
    f->config.length[1] = STATISTICS;
    f->config.masking.clip[0] = 50;
    f->config.masking.clip[1] = 20;
    f->config.masking.rotate = true;
    assert_int_equal(pf_secagg_server_create(&f->config, &f->server, NULL), PF_OK);
    both.roster = (struct pf_roster){.n_members = n, .members = f->identities};
    return both;
}

static void create_clients(struct both *both)
{
    for (uint32_t i = 0; i < both->f->n; i++) {
        const struct pf_secagg_client_config config = {
            .roster = &both->roster,
            .self = i,
            .sign_secret = both->f->parties[i].sign_secret,
            .round = ROUND,
            .context = both->f->config.context,
            .masking = both->f->config.masking,
            .min_cohort = 3,
            .max_corrupt = both->f->config.corrupt,
        };
        struct pf_error err = {0};
        if (pf_secagg_client_create(&config, &both->clients[i], &err) != PF_OK)
            fail_msg("%s", err.text);
    }
}

static void both_destroy(struct both *both)
{
    for (uint32_t i = 0; i < both->f->n; i++) pf_secagg_client_destroy(both->clients[i]);
    fixture_destroy(both->f);
}

static float update_of(uint32_t member, uint32_t coordinate)
{
    return (float)sin(member * 37.0 + coordinate * 0.7);
}

static uint64_t examples_of(uint32_t member)
{
    return 10 + 7 * member;
}

static uint8_t *mask(struct both *both, uint32_t member, enum pf_reason *reason,
                     struct pf_error *err)
{
    float update[LENGTH];
    uint64_t figures[PF_FIGURE_N] = {[PF_FIGURE_EXAMPLES] = examples_of(member),
                                     [PF_FIGURE_EVALUATED] = 20,
                                     [PF_FIGURE_CORRECT] = member};
    PF_CLEANUP(pf_buffer_finish) struct pf_buffer packed = {0};
    for (uint32_t c = 0; c < LENGTH; c++) update[c] = update_of(member, c);
    if (pf_secagg_client_mask(both->clients[member], both->f->config.length, update, figures, 5,
                              &packed, reason, err) != PF_OK)
        return NULL;
    assert_int_equal(packed.length, pf_secagg_server_packed_bytes(both->f->server));
    uint8_t *bytes = packed.bytes;
    packed.bytes = NULL;
    return bytes;
}

/* Gives the client the server's message and the server the client's answer. */
static enum pf_status exchange(struct both *both, uint32_t i, enum pf_reason *reason,
                               struct pf_error *err)
{
    struct pf_secagg_server *server = both->f->server;
    struct pf_secagg_client *client = both->clients[i];
    struct pf_message answer = {0}, message;
    struct pf_digest digest;
    enum pf_status status = PF_INVALID;
    switch (pf_secagg_server_phase(server)) {
    case PF_SECAGG_ADVERTISING:
        pf_secagg_client_advertise(client, &answer.advertise);
        return pf_secagg_server_advertise(server, i, &answer.advertise, reason, err);
    case PF_SECAGG_REVEALING:
        message = fixture_message(both->f, i, PF_MESSAGE_COMMITTED);
        status =
            pf_secagg_client_committed(client, &message.committed, &answer.reveal, reason, err);
        if (status == PF_OK)
            status = pf_secagg_server_reveal(server, i, &answer.reveal, reason, err);
        break;
    case PF_SECAGG_SHARING:
        message = fixture_message(both->f, i, PF_MESSAGE_KEY_LIST);
        answer.kind = PF_MESSAGE_SHARES;
        status = pf_secagg_client_key_list(client, &message.key_list, &answer.shares, reason, err);
        if (status == PF_OK)
            status = pf_secagg_server_shares(server, i, &answer.shares, reason, err);
        break;
    case PF_SECAGG_MASKING: {
        message = fixture_message(both->f, i, PF_MESSAGE_SHARE_DELIVERY);
        status = pf_secagg_client_delivery(client, &message.shares, reason, err);
        uint8_t *packed = status == PF_OK ? mask(both, i, reason, err) : NULL;
        if (packed == NULL) break;
        status = pf_secagg_server_masked(server, i, packed, pf_secagg_server_packed_bytes(server),
                                         reason, err);
        pf_free(packed);
        break;
    }
    case PF_SECAGG_CONSENTING:
        message = fixture_message(both->f, i, PF_MESSAGE_SURVIVORS);
        status = pf_secagg_client_survivors(client, &message.survivors, &answer.consent, &digest,
                                            reason, err);
        if (status == PF_OK)
            status = pf_secagg_server_consent(server, i, &answer.consent, reason, err);
        break;
    case PF_SECAGG_UNMASKING:
        message = fixture_message(both->f, i, PF_MESSAGE_UNMASK_REQUEST);
        answer.kind = PF_MESSAGE_UNMASK;
        status =
            pf_secagg_client_unmask(client, &message.unmask_request, &answer.unmask, reason, err);
        if (status == PF_OK)
            status = pf_secagg_server_unmask(server, i, &answer.unmask, reason, err);
        break;
    }
    pf_message_finish(&message);
    if (answer.kind != 0) pf_message_finish(&answer);
    return status;
}

static void expect_mean(struct both *both, uint64_t survivors)
{
    struct pf_secagg_server *server = both->f->server;
    PF_CLEANUP(pf_unmasking_destroyp) struct pf_unmasking *unmasking = NULL;
    PF_CLEANUP(pf_codec_destroyp) struct pf_codec *codec = NULL;
    float mean[LENGTH];
    uint64_t figures[PF_FIGURE_N], examples = 0, correct = 0, n = 0;
    struct pf_error err = {0};
    if (pf_secagg_server_take(server, &unmasking, &err) != PF_OK ||
        pf_unmasking_run(unmasking, NULL, NULL, &err) != PF_OK ||
        pf_codec_create(pf_secagg_server_codec(server), &codec, &err) != PF_OK ||
        pf_codec_decode(codec, unmasking->sum, unmasking->n_survivors, mean, figures, &err) !=
            PF_OK)
        fail_msg("%s", err.text);
    for (uint32_t i = 0; i < both->f->n; i++) {
        if ((survivors >> i & 1) == 0) continue;
        examples += examples_of(i);
        correct += i;
        n++;
    }
    assert_int_equal(figures[PF_FIGURE_EXAMPLES], examples);
    assert_int_equal(figures[PF_FIGURE_EVALUATED], 20 * n);
    assert_int_equal(figures[PF_FIGURE_CORRECT], correct);
    assert_int_equal(figures[PF_FIGURE_CLIPPED], 0);
    for (uint32_t c = 0; c < LENGTH; c++) {
        double expected = 0;
        for (uint32_t i = 0; i < both->f->n; i++)
            if (survivors >> i & 1) expected += (double)examples_of(i) * (double)update_of(i, c);
        expected /= (double)examples;
        if (fabs((double)mean[c] - expected) > 0.05)
            fail_msg("coordinate %u is %f, not %f", c, (double)mean[c], expected);
    }
}

static void run_round(uint32_t n, enum pf_graph_kind graph, const uint64_t absent[6])
{
    struct both both = both_create(n, graph);
    uint64_t survivors = UINT64_MAX;
    create_clients(&both);
    for (bool last = false; !last;) {
        enum pf_secagg_phase phase = pf_secagg_server_phase(both.f->server);
        last = phase == PF_SECAGG_UNMASKING;
        for (uint32_t i = 0; i < n; i++) {
            if ((absent[phase] >> i & 1) || !pf_secagg_server_awaits(both.f->server, i)) continue;
            enum pf_reason reason = PF_REASON_NONE;
            struct pf_error err = {0};
            if (exchange(&both, i, &reason, &err) != PF_OK)
                fail_msg("member %u: %s: %s", i, pf_reason_name(reason), err.text);
        }
        if (phase <= PF_SECAGG_MASKING) survivors &= ~absent[phase];
        if (!last) fixture_advance(both.f);
    }
    expect_mean(&both, survivors);
    both_destroy(&both);
}

static void the_mean_comes_out(void **state)
{
    (void)state;
    run_round(5, 0, (const uint64_t[6]){0});
    run_round(24, PF_GRAPH_HARARY, (const uint64_t[6]){0});
}

static void the_mean_of_the_survivors_comes_out(void **state)
{
    (void)state;
    const uint64_t complete[6] = {BIT(3), 0, BIT(0), BIT(11), BIT(6), BIT(9)};
    run_round(13, PF_GRAPH_COMPLETE, complete);
    const uint64_t regular[6] = {BIT(5), 0, BIT(0), BIT(20) | BIT(21), BIT(39), BIT(11)};
    run_round(40, PF_GRAPH_HARARY, regular);
}

int main(void)
{
    if (sodium_init() < 0) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_mean_comes_out),
        cmocka_unit_test(the_mean_of_the_survivors_comes_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
