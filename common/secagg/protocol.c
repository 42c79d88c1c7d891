#include "common/secagg/protocol.h"
