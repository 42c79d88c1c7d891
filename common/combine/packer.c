#include "common/combine/packer.h"

#include "common/base/memory.h"
#include "common/combine/columns.h"

static const struct {
    const char *name;
    pf_packer_function *pack;
} packers[PF_N_PACKERS] = {
    [PF_PACKER_KEPT_WEIGHT] = {"kept-weight", pf_pack_kept_weight},
    [PF_PACKER_PUBLISHED] = {"published", pf_pack_published},
    [PF_PACKER_DENSE_FIRST] = {"dense-first", pf_pack_dense_first},
    [PF_PACKER_ITERATED] = {"iterated", pf_pack_iterated},
    [PF_PACKER_MATCHING] = {"matching", pf_pack_matching},
};

const char *pf_packer_name(enum pf_packer packer)
{
    return (size_t)packer < PF_N_PACKERS ? packers[packer].name : "unknown";
}

void pf_packer_options_default(struct pf_packer_options *options)
{
    *options =
        (struct pf_packer_options){.packer = PF_PACKER_KEPT_WEIGHT, .effort = 0.25, .seed = 1};
}

enum pf_status pf_packer_options_validate(const struct pf_packer_options *self,
                                          struct pf_error *err)
{
    if ((size_t)self->packer >= PF_N_PACKERS)
        return pf_fail(err, PF_INVALID, "combine: packer %d is unknown", (int)self->packer);
    if (!(self->effort >= 0.0 && self->effort <= PF_MAX_PACKER_EFFORT))
        return pf_fail(err, PF_INVALID, "combine: a packer's effort of %g s is outside 0…%g s",
                       self->effort, PF_MAX_PACKER_EFFORT);
    return PF_OK;
}

enum pf_status pf_packer_check_alpha(enum pf_packer packer, uint32_t alpha, struct pf_error *err)
{
    if (packer != PF_PACKER_MATCHING || alpha <= 2) return PF_OK;
    return pf_fail(err, PF_INVALID,
                   "combine: the packer 'matching' makes pairs, not groups of alpha = %u; take "
                   "'kept-weight'",
                   alpha);
}

/* Numbers groups by their lowest column, closing up over empty ones: group[n] of the nonempty
 * columns, which ascend.  Returns how many there are. */
static uint32_t number_groups(const struct pf_columns *columns, const uint32_t *group,
                              uint32_t *new_number, uint32_t *group_of_column)
{
    for (uint32_t g = 0; g < columns->n; g++) new_number[g] = PF_NO_GROUP;
    uint32_t n = 0;
    for (uint32_t c = 0; c < columns->n; c++) {
        uint32_t *number = &new_number[group[c]];
        if (*number == PF_NO_GROUP) *number = n++;
        group_of_column[columns->number[c]] = *number;
    }
    return n;
}

enum pf_status pf_group_columns(const float *worth, uint32_t n_rows, uint32_t n_columns,
                                const struct pf_grouping_rule *rule,
                                const struct pf_packer_options *options,
                                struct pf_grouping *grouping, struct pf_error *err)
{
    PF_TRY(pf_grouping_check(n_rows, n_columns, rule, err));
    PF_TRY(pf_packer_options_validate(options, err));
    PF_TRY(pf_packer_check_alpha(options->packer, rule->alpha, err));
    PF_CLEANUP(pf_columns_finish) struct pf_columns columns = {0};
    PF_TRY(pf_columns_init(&columns, rule, worth, n_rows, n_columns, err));
    PF_CLEANUP(pf_freep) uint32_t *group = PF_ALLOC(columns.n, uint32_t);
    PF_CLEANUP(pf_freep) uint32_t *new_number = PF_ALLOC(columns.n, uint32_t);
    PF_CLEANUP(pf_freep) uint32_t *group_of_column = PF_ALLOC(n_columns, uint32_t);
    if (group == NULL || new_number == NULL || group_of_column == NULL)
        return pf_no_memory(err, "grouping columns");
    uint32_t n_groups = 0;
    if (columns.n > 0)
        PF_TRY(packers[options->packer].pack(&columns, worth, n_columns, options, group, &n_groups,
                                             err));
    for (uint32_t k = 0; k < n_columns; k++) group_of_column[k] = PF_NO_GROUP;
    /* A search may have left a group without a column, which is one fewer. */
    n_groups = number_groups(&columns, group, new_number, group_of_column);
    *grouping = (struct pf_grouping){
        .n_columns = n_columns, .n_groups = n_groups, .group_of_column = group_of_column};
    group_of_column = NULL;
    return PF_OK;
}
