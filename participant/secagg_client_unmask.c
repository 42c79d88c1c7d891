/* Steps 3 and 4 of the client: consent to one survivor set, one share of each neighbour. */
#include <sodium.h>
#include <string.h>

#include "common/base/memory.h"
#include "participant/secagg_client_parts.h"

static bool complete(const struct pf_secagg_client *self)
{
    return self->parameters.graph == PF_GRAPH_COMPLETE;
}

/* Those in the set who hold shares of our secrets. */
static uint32_t count_holders(const struct pf_secagg_client *self, const struct pf_member_set *set)
{
    uint32_t n = complete(self) && pf_member_set_has(set, self->config.self);
    for (uint32_t i = 0; i < self->n_neighbours; i++)
        n += pf_member_set_has(set, self->neighbours[i].advert.member);
    return n;
}

/* ---- step 3 -----------------------------------------------------------------------------------
 */

static enum pf_status check_survivors(const struct pf_secagg_client *self,
                                      const struct pf_member_set *set, enum pf_reason *reason,
                                      struct pf_error *err)
{
    PF_TRY(pf_sc_check_set(self, set, "survivor set", reason, err));
    if (!pf_member_set_within(set, &self->sharers))
        return PF_SC_REFUSE(reason, PF_REASON_UNKNOWN_PEER, err,
                            "survivors who never shared their secrets");
    uint32_t holders = count_holders(self, set);
    if (holders < self->parameters.threshold)
        return PF_SC_REFUSE(reason, PF_REASON_TOO_FEW, err,
                            "%u survivors hold our shares; the threshold is %u", holders,
                            self->parameters.threshold);
    return PF_OK;
}

enum pf_status pf_secagg_client_survivors(struct pf_secagg_client *self,
                                          const struct pf_survivors *survivors,
                                          struct pf_consent_message *consent,
                                          struct pf_digest *digest, enum pf_reason *reason,
                                          struct pf_error *err)
{
    if (self->step < PF_SECAGG_MASKED)
        return PF_SC_REFUSE(reason, PF_REASON_STEP, err, "survivors are named in step '%s'",
                            pf_secagg_step_name(self->step));
    if (self->step == PF_SECAGG_MASKED) {
        struct pf_member_set set;
        PF_TRY(check_survivors(self, &survivors->survivors, reason, err));
        PF_TRY(pf_member_set_copy(&survivors->survivors, &set, err));
        self->survivors = set;
        pf_consent_sign(&self->config.context, &self->key_list, &self->survivors,
                        self->config.sign_secret, self->consent);
        self->step = PF_SECAGG_CONSENTED;
    } else if (!pf_member_set_equal(&survivors->survivors, &self->survivors)) {
        return PF_SC_REFUSE(reason, PF_REASON_SURVIVOR_SET, err,
                            "a second, different survivor set for one round");
    }
    *digest = pf_member_set_digest(&self->survivors);
    *consent = (struct pf_consent_message){.round = self->config.round,
                                           .consent = {.member = self->config.self}};
    memcpy(consent->consent.signature, self->consent, sizeof self->consent);
    return PF_OK;
}

/* ---- step 4 -----------------------------------------------------------------------------------
 */

static void hash_list(crypto_generichash_state *state, const uint32_t *list, uint32_t n)
{
    crypto_generichash_update(state, (const uint8_t *)&n, sizeof n);
    if (n > 0) crypto_generichash_update(state, (const uint8_t *)list, n * sizeof *list);
}

/* Of what is asked; whose consents come with it may differ from one sending to the next. */
static struct pf_digest digest_request(const struct pf_unmask_request *request)
{
    struct pf_digest digest;
    crypto_generichash_state state;
    crypto_generichash_init(&state, NULL, 0, sizeof digest.bytes);
    hash_list(&state, request->survivors, request->n_survivors);
    hash_list(&state, request->dropped, request->n_dropped);
    crypto_generichash_final(&state, digest.bytes, sizeof digest.bytes);
    return digest;
}

/* Position of a member whose shares are held: its neighbour index, or n_neighbours for oneself. */
static bool find_held(const struct pf_secagg_client *self, uint32_t member, uint32_t *position)
{
    const struct pf_sc_neighbour *peer = pf_sc_find(self, member);
    if (peer != NULL && peer->shared) {
        *position = (uint32_t)(peer - self->neighbours);
        return true;
    }
    *position = self->n_neighbours;
    return member == self->config.self && complete(self);
}

enum asked { ASKED_NOT = 0, ASKED_SELF, ASKED_MASK };

static enum pf_status mark_list(const struct pf_secagg_client *self, const uint32_t *list,
                                uint32_t n, enum asked what, uint8_t *asked, enum pf_reason *reason,
                                struct pf_error *err)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t position;
        const char *name = pf_sc_name(self, list[i]);
        if (list[i] == self->config.self && what == ASKED_MASK)
            return PF_SC_REFUSE(reason, PF_REASON_SELF_DROPPED, err,
                                "we are asked to unmask ourselves as dropped");
        if (!find_held(self, list[i], &position))
            return PF_SC_REFUSE(reason, PF_REASON_UNKNOWN_PEER, err,
                                "shares of %s (%u) are asked for; none are held here", name,
                                list[i]);
        if (asked[position] == what)
            return PF_SC_REFUSE(reason, PF_REASON_REPEATED_PEER, err,
                                "a share of %s is asked for twice", name);
        if (asked[position] != ASKED_NOT)
            return PF_SC_REFUSE(reason, PF_REASON_BOTH_SHARES, err,
                                "both shares of %s are asked for", name);
        asked[position] = (uint8_t)what;
    }
    return PF_OK;
}

/* The lists must say of everybody whose shares are held what the signed set says. */
static enum pf_status check_against_set(const struct pf_secagg_client *self, const uint8_t *asked,
                                        enum pf_reason *reason, struct pf_error *err)
{
    for (uint32_t i = 0; i < self->n_neighbours; i++) {
        const struct pf_sc_neighbour *peer = &self->neighbours[i];
        bool survives = pf_member_set_has(&self->survivors, peer->advert.member);
        enum asked expected = !peer->shared ? ASKED_NOT : survives ? ASKED_SELF : ASKED_MASK;
        if (asked[i] != (uint8_t)expected)
            return PF_SC_REFUSE(reason, PF_REASON_SURVIVOR_SET, err,
                                "what is asked about %s differs from the survivor set we signed",
                                pf_sc_name(self, peer->advert.member));
    }
    if (complete(self) && asked[self->n_neighbours] != ASKED_SELF)
        return PF_SC_REFUSE(reason, PF_REASON_SURVIVOR_SET, err,
                            "we are left out of the survivors that we signed");
    return PF_OK;
}

struct verify_job {
    const struct pf_secagg_client *self;
    const struct pf_unmask_request *request;
    bool *good; /* [n_consents] */
};

static void verify_one(void *context, size_t i)
{
    const struct verify_job *job = context;
    const struct pf_secagg_client *self = job->self;
    const struct pf_consent *consent = &job->request->consents[i];
    job->good[i] =
        pf_consent_verify(&self->config.context, &self->key_list, &self->survivors,
                          self->config.roster->members[consent->member].sign, consent->signature);
}

/* Signers are survivors whose shares are held (oneself counts when complete), each once. */
static enum pf_status check_signers(const struct pf_secagg_client *self,
                                    const struct pf_unmask_request *request, uint8_t *signers,
                                    enum pf_reason *reason, struct pf_error *err)
{
    for (uint32_t i = 0; i < request->n_consents; i++) {
        uint32_t position, member = request->consents[i].member;
        if (!find_held(self, member, &position) || !pf_member_set_has(&self->survivors, member))
            return PF_SC_REFUSE(reason, PF_REASON_UNKNOWN_PEER, err,
                                "the consent of %s (%u), who is no survivor known here",
                                pf_sc_name(self, member), member);
        if (signers[position]++ != 0)
            return PF_SC_REFUSE(reason, PF_REASON_REPEATED_PEER, err, "two consents of %s",
                                pf_sc_name(self, member));
    }
    if (request->n_consents < self->parameters.threshold)
        return PF_SC_REFUSE(reason, PF_REASON_SIGNATURE, err,
                            "%u consents to the survivor set; the threshold is %u",
                            request->n_consents, self->parameters.threshold);
    return PF_OK;
}

static enum pf_status check_consents(const struct pf_secagg_client *self,
                                     const struct pf_unmask_request *request, uint8_t *signers,
                                     enum pf_reason *reason, struct pf_error *err)
{
    PF_TRY(check_signers(self, request, signers, reason, err));
    PF_CLEANUP(pf_freep) bool *good = PF_ALLOC(request->n_consents, bool);
    if (good == NULL) return pf_no_memory(err, "consents");
    struct verify_job job = {self, request, good};
    pf_sc_each(self, request->n_consents, verify_one, &job);
    for (uint32_t i = 0; i < request->n_consents; i++)
        if (!good[i])
            return PF_SC_REFUSE(reason, PF_REASON_SIGNATURE, err,
                                "the consent of %s is not to the survivor set that we signed",
                                pf_sc_name(self, request->consents[i].member));
    return PF_OK;
}

/* In place: what is returned by value may leave a copy. */
static void give(const struct pf_secagg_client *self, uint32_t member, bool dropped,
                 struct pf_given_share *given)
{
    const struct pf_sc_neighbour *peer = pf_sc_find(self, member);
    const struct pf_share_pair *pair = peer != NULL ? &peer->shares : &self->own;
    const struct pf_scalar *share = dropped ? &pair->mask : &pair->self;
    given->member = member;
    given->dropped = dropped;
    memcpy(&given->share, share, sizeof given->share);
}

/* From here on only what was given exists: there is nothing left to be asked for. */
static void wipe_shares(struct pf_secagg_client *self)
{
    for (uint32_t i = 0; i < self->n_neighbours; i++) {
        sodium_memzero(&self->neighbours[i].shares, sizeof self->neighbours[i].shares);
        sodium_memzero(&self->neighbours[i].channel, sizeof self->neighbours[i].channel);
    }
    sodium_memzero(&self->own, sizeof self->own);
    sodium_memzero(self->channel_secret, sizeof self->channel_secret);
}

static enum pf_status answer_unmask(const struct pf_secagg_client *self, struct pf_unmask *unmask,
                                    struct pf_error *err)
{
    struct pf_given_share *shares = PF_ALLOC(self->n_given, struct pf_given_share);
    if (shares == NULL) return pf_no_memory(err, "shares");
    memcpy(shares, self->given, self->n_given * sizeof *shares);
    *unmask = (struct pf_unmask){
        .round = self->config.round, .n_shares = self->n_given, .shares = shares};
    return PF_OK;
}

static enum pf_status check_request(const struct pf_secagg_client *self,
                                    const struct pf_unmask_request *request, enum pf_reason *reason,
                                    struct pf_error *err)
{
    size_t n = (size_t)self->n_neighbours + 1;
    PF_CLEANUP(pf_freep) uint8_t *asked = PF_ALLOC(n, uint8_t);
    PF_CLEANUP(pf_freep) uint8_t *signers = PF_ALLOC(n, uint8_t);
    if (asked == NULL || signers == NULL) return pf_no_memory(err, "a request");
    PF_TRY(
        mark_list(self, request->survivors, request->n_survivors, ASKED_SELF, asked, reason, err));
    PF_TRY(mark_list(self, request->dropped, request->n_dropped, ASKED_MASK, asked, reason, err));
    if (request->n_survivors < self->parameters.threshold)
        return PF_SC_REFUSE(reason, PF_REASON_TOO_FEW, err,
                            "%u survivors are named; the threshold is %u", request->n_survivors,
                            self->parameters.threshold);
    PF_TRY(check_against_set(self, asked, reason, err));
    return check_consents(self, request, signers, reason, err);
}

enum pf_status pf_secagg_client_unmask(struct pf_secagg_client *self,
                                       const struct pf_unmask_request *request,
                                       struct pf_unmask *unmask, enum pf_reason *reason,
                                       struct pf_error *err)
{
    struct pf_digest seen = digest_request(request);
    if (self->step < PF_SECAGG_CONSENTED)
        return PF_SC_REFUSE(reason, PF_REASON_STEP, err, "shares are asked for in step '%s'",
                            pf_secagg_step_name(self->step));
    if (self->step == PF_SECAGG_UNMASKED && pf_digest_equal(&seen, &self->request_seen))
        return answer_unmask(self, unmask, err);
    /* Also of a second request: it is refused by what is wrong with it. */
    PF_TRY(check_request(self, request, reason, err));
    if (self->step == PF_SECAGG_UNMASKED)
        return PF_SC_REFUSE(reason, PF_REASON_SURVIVOR_SET, err,
                            "a second, different request for shares");
    uint32_t n = request->n_survivors + request->n_dropped;
    struct pf_given_share *given = PF_ALLOC(n, struct pf_given_share);
    if (given == NULL) return pf_no_memory(err, "shares");
    for (uint32_t i = 0; i < request->n_survivors; i++)
        give(self, request->survivors[i], false, &given[i]);
    for (uint32_t i = 0; i < request->n_dropped; i++)
        give(self, request->dropped[i], true, &given[request->n_survivors + i]);
    self->given = given;
    self->n_given = n;
    self->request_seen = seen;
    self->step = PF_SECAGG_UNMASKED;
    wipe_shares(self);
    return answer_unmask(self, unmask, err);
}
