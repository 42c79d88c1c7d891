#include "common/secagg/codec.h"
