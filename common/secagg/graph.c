#include "common/secagg/graph.h"
