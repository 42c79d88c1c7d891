#include "common/secagg/parameters.h"
