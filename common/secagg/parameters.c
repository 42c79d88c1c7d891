#include "common/secagg/parameters.h"

double pf_secagg_default_corrupt(uint32_t n)
{
    return n < PF_SECAGG_COMPLETE_BELOW ? 0.2 : 0.05;
}
