#include "common/secagg/shamir.h"
