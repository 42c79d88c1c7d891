#include "common/secagg/unmask.h"
