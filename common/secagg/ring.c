#include "common/secagg/ring.h"
